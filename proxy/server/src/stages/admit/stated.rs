//! What for: the purpose of use, by the token, a header or the launch, and an emergency that is declared. What is stated
//! and not allowed is refused, never passed over.

use drape_caller::act_for;
use drape_view::{Caller, StatedBy};
use http::{HeaderMap, StatusCode};

use crate::config::callers::{BreakGlass, PURPOSE_HEADER, PurposeHeader, REASON_HEADER};
use crate::emergencies::Unaccepted;
use crate::metrics::Emergency as Counted;
use crate::parts::Tenant;
use crate::refusal::{Lacks, Refusal};

/// What a caller may state, by the configuration of whoever vouches for her.
pub(super) struct Rules<'a> {
    pub(super) purposes: &'a [(String, Vec<String>)],
    pub(super) header: Option<&'a PurposeHeader>,
    pub(super) launch: &'a [(String, String)],
    /// `intent` of the launch.
    pub(super) intent: Option<String>,
    pub(super) break_glass: Option<&'a BreakGlass>,
}

/// No purpose code is longer.
const PURPOSE_CHARS_MAX: usize = 64;
const REASON_CHARS_MAX: usize = 500;

impl Rules<'_> {
    /// Takes in what the request states.
    pub(super) fn apply(
        &self,
        tenant: &Tenant,
        caller: &mut Caller,
        headers: &HeaderMap,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let reason_header = self.break_glass.map_or(REASON_HEADER, |b| &b.header);
        let purpose_header = self.header.map_or(PURPOSE_HEADER, |h| &h.name);
        // A header of the usual name that goes by another one here is a mistake that must not be passed over.
        for (usual, expected) in [(PURPOSE_HEADER, purpose_header), (REASON_HEADER, reason_header)] {
            if usual != expected && headers.contains_key(usual) {
                return Err(refused(format!("`{usual}` is not read here; it is called `{expected}`")));
            }
        }
        self.purpose(caller, one(headers, purpose_header)?, purpose_header)?;
        self.emergency(tenant, caller, one(headers, reason_header)?, reason_header, now_ms)
    }

    fn purpose(&self, caller: &mut Caller, stated: Option<String>, name: &str) -> Result<(), Refusal> {
        let Some(stated) = stated else {
            let launched = self.intent.as_ref().filter(|_| caller.purpose.is_empty());
            if let Some((_, purpose)) =
                launched.and_then(|i| self.launch.iter().find(|(intent, _)| intent == i))
            {
                act_for(caller, purpose, StatedBy::Launch, self.purposes);
            }
            return Ok(());
        };
        let may = |clients: &[String]| {
            clients.is_empty() || caller.client.as_ref().is_some_and(|client| clients.contains(client))
        };
        let by_header = self.header.filter(|h| h.allowed.contains(&stated));
        let in_emergency = self.break_glass.filter(|b| b.purposes.contains(&stated));
        let shown = if stated.len() <= PURPOSE_CHARS_MAX {
            format!("`{stated}`")
        } else {
            "such a long one".to_owned()
        };
        if by_header.is_none() && in_emergency.is_none() {
            let allowed = self.header.map(|h| h.allowed.as_slice()).unwrap_or_default();
            let emergency = self.break_glass.map(|b| b.purposes.as_slice()).unwrap_or_default();
            let mut all: Vec<&str> = allowed.iter().chain(emergency).map(String::as_str).collect();
            all.dedup();
            return Err(refused(if all.is_empty() {
                format!("a purpose of use is not taken by `{name}` here; your token must state it")
            } else {
                format!("the purpose of use in `{name}` may not be {shown}; it may be {}", all.join(", "))
            }));
        }
        if !(by_header.is_some_and(|h| may(&h.clients)) || in_emergency.is_some_and(|b| may(&b.clients))) {
            return Err(refused(format!("your app may not state a purpose of use by `{name}`")));
        }
        if caller.purpose == stated {
            return Ok(());
        }
        // Only an emergency goes before what the token says.
        if !caller.purpose.is_empty() && in_emergency.is_none() {
            return Err(refused(format!("the token states another purpose of use than `{name}`")));
        }
        act_for(caller, &stated, StatedBy::Header, self.purposes);
        Ok(())
    }

    fn emergency(
        &self,
        tenant: &Tenant,
        caller: &mut Caller,
        reason: Option<String>,
        name: &str,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let count = |what| tenant.metrics.emergency(&tenant.name, what);
        let no = |public: String| {
            count(Counted::Refused);
            Err(refused(public))
        };
        let Some(rules) = self.break_glass else {
            return match reason {
                Some(_) => no("no emergency can be declared here".to_owned()),
                None => Ok(()),
            };
        };
        if !rules.purposes.contains(&caller.purpose) {
            return match reason {
                Some(_) => no(format!(
                    "`{name}` says that this is an emergency, and the purpose of use does not; it must be {}",
                    rules.purposes.join(" or ")
                )),
                None => Ok(()),
            };
        }
        if !caller.roles.iter().any(|role| rules.roles.contains(role)) {
            return no(format!("in none of your roles may you act for {}", caller.purpose));
        }
        let client = caller.client.as_ref();
        if !rules.clients.is_empty() && !client.is_some_and(|c| rules.clients.contains(c)) {
            return no("your app may not declare an emergency".to_owned());
        }
        let emergency = match reason {
            None => match tenant.emergencies.find(caller, now_ms) {
                Some(emergency) => emergency,
                None => {
                    return no(format!(
                        "{} needs a reason: say in `{name}`, in at least {} characters, why you need to see more",
                        caller.purpose, rules.reason_chars_min
                    ));
                }
            },
            Some(reason) => {
                let reason = reason.trim();
                let chars = reason.chars().count();
                let says = reason.chars().filter(|c| c.is_alphanumeric()).count();
                if says < rules.reason_chars_min || chars > REASON_CHARS_MAX {
                    return no(format!(
                        "the reason in `{name}` must have {} to {REASON_CHARS_MAX} characters that say something; \
                         somebody will read it",
                        rules.reason_chars_min
                    ));
                }
                match tenant.emergencies.declare(caller, reason, rules, now_ms) {
                    Ok((emergency, begins)) => {
                        if begins {
                            count(Counted::Declared);
                        }
                        emergency
                    }
                    Err(Unaccepted::TooMany) => {
                        return no(format!(
                            "you have declared {} emergencies within 24 hours; speak to the privacy officer",
                            rules.per_day_max
                        ));
                    }
                    Err(Unaccepted::Full) => {
                        count(Counted::Refused);
                        let public = "no emergency can be declared at this time";
                        return Err(Refusal::unavailable("admit", public, "too many are held"));
                    }
                }
            }
        };
        count(Counted::Access);
        caller.environment.break_glass = true;
        caller.statement.emergency = Some(emergency);
        Ok(())
    }
}

fn refused(public: String) -> Refusal {
    Refusal::forbidden("admit", public).lacking(Lacks::Purpose)
}

/// The one header of that name, without what stands around it. Two could mean either.
fn one(headers: &HeaderMap, name: &str) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |what: &str| {
        Refusal::new("admit", StatusCode::BAD_REQUEST, "invalid", format!("the header `{name}` {what}"))
    };
    if values.next().is_some() {
        return Err(bad("stands twice"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| bad("is not UTF-8"))?.trim();
    if text.is_empty() {
        return Err(bad("is empty"));
    }
    Ok(Some(text.to_owned()))
}
