//! Counters and times for operators: closed label sets, no user, patient, path or client-supplied value in any.

use prometheus::core::Collector as _;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Every metric of the process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    withheld: IntCounterVec,
    treated: IntCounterVec,
    duration: Histogram,
    upstream_errors: IntCounterVec,
    fact_lookups: IntCounterVec,
    in_flight: IntGauge,
    strangers: IntCounterVec,
    emergencies: IntCounterVec,
    log_size: IntGauge,
    log_healthy: IntGauge,
    epsilon_spent: IntCounterVec,
    captured: IntCounterVec,
    shadow_compared: IntCounterVec,
    shadow_dropped: IntCounterVec,
    shadow_differences: IntCounterVec,
    reloads: IntCounterVec,
    policies: IntGaugeVec,
    policies_since: IntGaugeVec,
    candidates: IntGaugeVec,
    certificates: IntCounterVec,
    certificates_until: IntGaugeVec,
    restart_needed: IntGauge,
}

/// What became of something that changed while running; the label `result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in force.
    Switched,
    /// It cannot be used.
    Refused,
    /// It waits for officers.
    Waiting,
}

impl Taken {
    const fn name(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
        }
    }

    /// In front of the reasons.
    pub(crate) const fn says(self) -> &'static str {
        match self {
            Self::Switched => "taken up",
            Self::Refused => "candidate refused",
            Self::Waiting => "candidate waiting",
        }
    }
}

/// How a request ended; the label `outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Answered.
    Answered,
    /// Refused by policy, scope or because it was not understood.
    Refused,
    /// Nobody was authenticated.
    Stranger,
    /// Failed, by the upstream or by Drape.
    Failed,
    /// Cut off in the middle.
    Cut,
}

impl Ending {
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Stranger => "stranger",
            Self::Failed => "failed",
            Self::Cut => "cut",
        }
    }
}

/// What happened about an emergency; the label `what`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emergency {
    /// One was declared and accepted.
    Declared,
    /// One was not accepted.
    Refused,
    /// A request was made in one.
    Access,
}

impl Emergency {
    const fn name(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Refused => "refused",
            Self::Access => "access",
        }
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let c = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(c.clone()))?;
            Ok::<_, prometheus::Error>(c)
        };
        let gauge = |name: &str, help: &str| {
            let g = IntGauge::new(name, help)?;
            registry.register(Box::new(g.clone()))?;
            Ok::<_, prometheus::Error>(g)
        };
        let requests =
            counter("drape_requests_total", "Requests by route and how they ended.", &["route", "outcome"])?;
        let withheld = counter("drape_records_withheld_total", "Records withheld, by reason.", &["reason"])?;
        let treated = counter(
            "drape_elements_treated_total",
            "Elements by category and treatment.",
            &["category", "treatment"],
        )?;
        let upstream_errors = counter("drape_upstream_errors_total", "Upstream failures.", &["kind"])?;
        let fact_lookups =
            counter("drape_fact_lookups_total", "Look-ups of facts, by kind and end.", &["fact", "outcome"])?;
        let strangers =
            counter("drape_unauthenticated_total", "Requests without a proved caller.", &["tenant"])?;
        let captured = counter(
            "drape_capture_items_total",
            "Requests for the recording, by what became of them.",
            &["tenant", "outcome"],
        )?;
        let shadow_compared = counter(
            "drape_shadow_compared_total",
            "Requests of which the shadow policies were asked.",
            &["tenant"],
        )?;
        let shadow_dropped = counter(
            "drape_shadow_dropped_total",
            "Requests of which the shadow policies could not be asked in time.",
            &["tenant"],
        )?;
        let shadow_differences = counter(
            "drape_shadow_differences_total",
            "Answers and records that the shadow policies would have decided otherwise.",
            &["tenant", "kind"],
        )?;
        let emergencies = counter(
            "drape_break_glass_total",
            "Emergencies declared, refused, and requests made in one.",
            &["tenant", "what"],
        )?;
        let epsilon_spent = counter(
            "drape_dp_epsilon_spent_nano_total",
            "Privacy loss charged, in 1e-9 epsilon.",
            &["budget"],
        )?;
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let g = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(g.clone()))?;
            Ok::<_, prometheus::Error>(g)
        };
        let reloads = counter(
            "drape_policy_reload_total",
            "Changes that were found while running, and what became of them.",
            &["tenant", "result"],
        )?;
        let policies =
            gauges("drape_policy_info", "The policies in force, by digest.", &["tenant", "digest"])?;
        let policies_since = gauges(
            "drape_policy_in_force_since_seconds",
            "Since when they are in force, at the earliest since the start.",
            &["tenant"],
        )?;
        let candidates = gauges(
            "drape_policy_candidate",
            "1 while what stands in the files is not in force.",
            &["tenant"],
        )?;
        let certificates = counter(
            "drape_certificate_reload_total",
            "Renewed certificates, and what became of them.",
            &["listener", "result"],
        )?;
        let certificates_until =
            gauges("drape_certificate_not_after_seconds", "When the certificate expires.", &["listener"])?;
        let restart_needed =
            gauge("drape_restart_needed", "1 where the configuration was changed in what needs a restart.")?;
        let in_flight = gauge("drape_requests_in_flight", "Requests being worked on.")?;
        let log_size = gauge("drape_audit_log_entries", "Entries in the audit log.")?;
        let log_healthy = gauge("drape_audit_log_healthy", "1 while the log accepts entries.")?;
        let buckets = vec![0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let opts =
            HistogramOpts::new("drape_request_duration_seconds", "From the headers to the answer's headers.");
        let duration = Histogram::with_opts(opts.buckets(buckets))?;
        registry.register(Box::new(duration.clone()))?;
        Ok(Self {
            registry,
            requests,
            withheld,
            treated,
            duration,
            upstream_errors,
            fact_lookups,
            in_flight,
            strangers,
            emergencies,
            log_size,
            log_healthy,
            epsilon_spent,
            captured,
            shadow_compared,
            shadow_dropped,
            shadow_differences,
            reloads,
            policies,
            policies_since,
            candidates,
            certificates,
            certificates_until,
            restart_needed,
        })
    }

    /// A request of `route` (a template such as `read`, never a path) ended.
    pub fn request(&self, route: &'static str, ending: Ending) {
        self.requests.with_label_values(&[route, ending.name()]).inc();
    }

    /// A record was withheld.
    pub fn withheld(&self, reason: drape_view::Reason, count: u64) {
        self.withheld.with_label_values(&[reason.name()]).inc_by(count);
    }

    /// Elements were treated.
    pub fn treated(&self, category: drape_view::Category, treatment: &'static str, count: u64) {
        self.treated.with_label_values(&[category.name(), treatment]).inc_by(count);
    }

    /// The upstream failed; `kind` is one of `unreachable`, `timeout`, `status`, `body`.
    pub fn upstream_error(&self, kind: &'static str) {
        self.upstream_errors.with_label_values(&[kind]).inc();
    }

    /// A fact was looked up; `fact` is one of `care-team`, `encounter`, `general-practitioner`, `age`, `reference`, and
    /// `outcome` one of `answered`, `timeout`, `unreachable`, `status`, `body`, `limit`.
    pub fn looked_up(&self, fact: &'static str, outcome: &'static str) {
        self.fact_lookups.with_label_values(&[fact, outcome]).inc();
    }

    /// Nobody was authenticated. `tenant` comes from the configuration.
    pub fn stranger(&self, tenant: &str) {
        self.strangers.with_label_values(&[tenant]).inc();
    }

    /// Something happened about an emergency. `tenant` comes from the configuration.
    pub fn emergency(&self, tenant: &str, what: Emergency) {
        self.emergencies.with_label_values(&[tenant, what.name()]).inc();
    }

    /// A budget was charged. `budget` comes from the configuration.
    pub fn charged(&self, budget: &str, nano: u64) {
        self.epsilon_spent.with_label_values(&[budget]).inc_by(nano);
    }

    /// Something of a tenant changed while running. `tenant` comes from the configuration.
    pub fn taken(&self, tenant: &str, taken: Taken) {
        self.reloads.with_label_values(&[tenant, taken.name()]).inc();
    }

    /// Policies came into force.
    pub fn policies_in_force(&self, tenant: &str, digest: &str, now_s: u64) {
        for family in self.policies.collect() {
            for metric in family.get_metric() {
                let label =
                    |name: &str| metric.get_label().iter().find(|l| l.name() == name).map(|l| l.value());
                if let (Some(of), Some(old)) = (label("tenant"), label("digest"))
                    && of == tenant
                    && old != digest
                {
                    let _ = self.policies.remove_label_values(&[of, old]);
                }
            }
        }
        self.policies.with_label_values(&[tenant, digest]).set(1);
        self.policies_since.with_label_values(&[tenant]).set(i64::try_from(now_s).unwrap_or(i64::MAX));
    }

    /// Whether what stands in a tenant's files is not in force.
    pub fn candidate(&self, tenant: &str, there: bool) {
        self.candidates.with_label_values(&[tenant]).set(i64::from(there));
    }

    /// A listener's certificate changed while running.
    pub fn certificate(&self, listener: &str, taken: Taken) {
        self.certificates.with_label_values(&[listener, taken.name()]).inc();
    }

    /// When a listener's certificate expires.
    pub fn certificate_until(&self, listener: &str, until_s: Option<i64>) {
        if let Some(until_s) = until_s {
            self.certificates_until.with_label_values(&[listener]).set(until_s);
        }
    }

    /// Whether the configuration was changed in what is read at the start alone.
    pub fn restart_needed(&self, needed: bool) {
        self.restart_needed.set(i64::from(needed));
    }

    /// A request went to the recording; `outcome` is one of `written`, `dropped`, `full`, `failed`.
    pub fn captured(&self, tenant: &str, outcome: &'static str) {
        self.captured.with_label_values(&[tenant, outcome]).inc();
    }

    /// The shadow policies were asked of a request.
    pub fn shadow_compared(&self, tenant: &str) {
        self.shadow_compared.with_label_values(&[tenant]).inc();
    }

    /// They could not be.
    pub fn shadow_dropped(&self, tenant: &str) {
        self.shadow_dropped.with_label_values(&[tenant]).inc();
    }

    /// They would have decided otherwise; `kind` is one of `gained`, `lost`, `treated`.
    pub fn shadow_difference(&self, tenant: &str, kind: &'static str, count: u64) {
        self.shadow_differences.with_label_values(&[tenant, kind]).inc_by(count);
    }

    /// Times one request and counts it as in flight.
    pub fn begin(&self) -> Timed {
        self.in_flight.inc();
        Timed { metrics: self.clone(), started: std::time::Instant::now() }
    }

    /// The text exposition format.
    pub fn render(&self, log_entries: u64, log_healthy: bool) -> Vec<u8> {
        self.log_size.set(i64::try_from(log_entries).unwrap_or(i64::MAX));
        self.log_healthy.set(i64::from(log_healthy));
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be written");
        }
        text
    }
}

/// Times one request up to the headers of its answer.
#[derive(Debug)]
pub struct Timed {
    metrics: Metrics,
    started: std::time::Instant,
}

impl Timed {
    /// Stops the clock; the request counts as in flight until what this gives is dropped.
    pub fn in_flight(self) -> InFlight {
        self.metrics.in_flight.inc();
        InFlight { metrics: self.metrics.clone() }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics.duration.observe(self.started.elapsed().as_secs_f64());
    }
}

/// One answer that is still going out.
#[derive(Debug)]
pub struct InFlight {
    metrics: Metrics,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_appears_in_the_exposition() {
        let metrics = Metrics::new().unwrap();
        metrics.request("read", Ending::Answered);
        let going = metrics.begin().in_flight();
        assert_eq!(metrics.in_flight.get(), 1);
        drop(going);
        assert_eq!(metrics.in_flight.get(), 0);
        let text = String::from_utf8(metrics.render(7, true)).unwrap();
        assert!(text.contains("drape_requests_total{outcome=\"answered\",route=\"read\"} 1"), "{text}");
        assert!(text.contains("drape_audit_log_entries 7"));
        assert!(text.contains("drape_request_duration_seconds_count 1"));
    }
}
