//! The configuration: one strict YAML file. Unknown keys are refused and every fault is reported at once.

pub mod callers;
pub mod facts;
mod read;
mod tenant;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use drape_view::fault::Fault;
use read::{Faults, Table};

pub use tenant::{
    Algorithm, Assertion, Capture, ClientIdentity, ClientProof, Cors, Dialect, Issuer, Policies,
    PolicySource, Shadow, Tenant, Upstream, UpstreamAuth,
};

/// Everything that `drape serve` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where clients connect.
    pub listen: Listen,
    /// Where operators, Prometheus and officers connect.
    pub admin: Admin,
    /// The FHIR servers Drape stands in front of.
    pub tenants: Vec<Tenant>,
    /// Where keys come from.
    pub keys: Keys,
    /// Where the audit log lies.
    pub audit: Audit,
    /// What noisy answers are charged to.
    pub budgets: Vec<Budget>,
    /// Every bound.
    pub limits: Limits,
    /// How changes are taken up while running.
    pub reload: Reload,
    /// Where all of this stands.
    pub origin: Origin,
}

/// Where a configuration was read from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its file; none for one that was given as text.
    pub file: Option<PathBuf>,
    /// The folder at which relative paths start.
    pub base: PathBuf,
    /// The document as it was read.
    pub document: serde_json::Value,
}

/// How changed files are taken up while running.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Between two looks at the files; zero: only SIGHUP makes Drape look.
    pub interval: Duration,
    /// Whether a set's own tests must pass before it is switched to.
    pub tests: bool,
    /// How long answers that stream may go on under the policies that were replaced.
    pub streams_timeout: Duration,
}

/// A listening socket.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Certificate and key; `None` only where `plaintext: true` says so.
    pub tls: Option<ServerTls>,
}

/// PEM files of a listener.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The chain, leaf first.
    pub certificate_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
    /// Whose client certificates are taken; `None`: none is asked for.
    pub clients: Option<ClientTls>,
}

/// Client certificates of a listener.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// PEM: the authorities that may vouch for clients.
    pub ca_file: PathBuf,
    /// Whether a connection without one is refused.
    pub required: bool,
}

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Its socket.
    pub listen: Listen,
    /// The role that may open the officer pages; tokens of any tenant's issuers are accepted.
    pub officer_role: String,
}

/// The root key and the key table.
#[derive(Clone, Debug)]
pub struct Keys {
    /// A file of 32 bytes, raw, in hex or in base64. It must exist: Drape never makes one silently.
    pub root_file: PathBuf,
    /// Holds the wrapped keys and the pseudonym map.
    pub directory: PathBuf,
}

/// The audit log.
#[derive(Clone, Debug)]
pub struct Audit {
    /// Tiles, checkpoint, event store.
    pub directory: PathBuf,
    /// The log's name in checkpoints (a schema-less URL, C2SP tlog-checkpoint).
    pub origin: String,
    /// Ed25519 seed, 32 bytes in hex; it must exist.
    pub signing_key_file: PathBuf,
    /// How often a checkpoint is published while entries come in.
    pub checkpoint_interval: Duration,
    /// How often a heartbeat is entered, which bounds how much of the tail can vanish unseen.
    pub heartbeat_interval: Duration,
}

/// One privacy budget.
#[derive(Clone, Debug)]
pub struct Budget {
    /// Its name; `Budget::"name"` in policies.
    pub name: String,
    /// The tenant whose patients it guards.
    pub tenant: String,
    /// The organization it belongs to in policies.
    pub organization: String,
    /// All that may ever be spent, in 10⁻⁹ ε.
    pub total_nano: u64,
    /// What one caller may spend, in 10⁻⁹ ε.
    pub per_caller_nano: u64,
    /// What one question costs, in 10⁻⁹ ε.
    pub per_query_nano: u64,
    /// The ledger's file.
    pub ledger_file: PathBuf,
}

/// Every bound. Units stand in the names of the keys.
#[derive(Clone, Debug)]
pub struct Limits {
    /// All request headers together.
    pub header_bytes_max: usize,
    /// How many request headers.
    pub header_count_max: usize,
    /// A request body.
    pub request_body_bytes_max: usize,
    /// A bearer token.
    pub token_bytes_max: usize,
    /// One record or Bundle entry, held whole while it is judged.
    pub entry_bytes_max: usize,
    /// All entries held at one time over all connections.
    pub held_bytes_max: usize,
    /// A whole upstream response.
    pub response_bytes_max: u64,
    /// How deep JSON may nest.
    pub json_depth_max: usize,
    /// Requests worked on at one time.
    pub concurrent_requests_max: usize,
    /// Open client connections.
    pub connections_max: usize,
    /// HTTP/2 streams of one connection.
    pub streams_max: u32,
    /// From the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// From the end of the headers to the last byte of the answer.
    pub request_timeout: Duration,
    /// Until the upstream's response headers.
    pub upstream_timeout: Duration,
    /// Between two pieces of the upstream's body.
    pub upstream_idle_timeout: Duration,
    /// To connect to the upstream.
    pub connect_timeout: Duration,
    /// How long open requests may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// How long a paging link lives.
    pub page_lifetime: Duration,
    /// How long the links of a bulk export live.
    pub export_lifetime: Duration,
}

/// Why a configuration could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Typically: it does not exist, or this user may not read it.
        source: std::io::Error,
    },
    /// It is not YAML.
    #[error("`{path}` is not valid YAML: {what}")]
    NotYaml {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        what: String,
        /// The same with the place of it.
        fault: Box<Fault>,
    },
    /// It is YAML, but not a configuration.
    #[error("the configuration has {} fault(s):\n{}", .0.len(), list(.0))]
    Faulty(Vec<Fault>),
}

impl ConfigError {
    /// The fault in the file, where it is one of the text.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Self::NotYaml { fault, .. } => Some((**fault).clone()),
            Self::Faulty(faults) => faults.first().cloned(),
            Self::Unreadable { .. } => None,
        }
    }
}

fn list(faults: &[Fault]) -> String {
    faults.iter().map(|f| format!("  {}", f.to_string().replace('\n', "\n  "))).collect::<Vec<_>>().join("\n")
}

const MIB: u64 = 1 << 20;

impl Config {
    /// Reads `path`. Relative paths in it are taken from its own folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (config, faults) = Self::load_whole(path)?;
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Faulty(faults)) }
    }

    /// The same with whatever faults it has, each at its line. With any, it is good for nothing but further checks.
    pub(crate) fn load_whole(path: &Path) -> Result<(Self, Vec<Fault>), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        let (mut config, faults) = Self::parse_whole(&text, &base, path)?;
        config.origin.file = Some(path.to_owned());
        Ok((config, faults))
    }

    /// Reads a configuration from text; `base` is where relative paths start.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ConfigError> {
        let (config, faults) = Self::parse_whole(text, base, Path::new("-"))?;
        if faults.is_empty() { Ok(config) } else { Err(ConfigError::Faulty(faults)) }
    }

    fn parse_whole(text: &str, base: &Path, path: &Path) -> Result<(Self, Vec<Fault>), ConfigError> {
        let name = path.display().to_string();
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|e| ConfigError::NotYaml {
            path: path.to_owned(),
            what: e.to_string(),
            fault: Box::new(drape_view::yaml::unreadable(&name, text, &e)),
        })?;
        let document = value.clone();
        let serde_json::Value::Object(members) = value else {
            return Err(ConfigError::Faulty(vec![
                Fault::new("(document)", "must be a mapping")
                    .help("start from one of the examples in config/"),
            ]));
        };
        let mut faults = Faults::default();
        let origin = Origin { file: None, base: base.to_owned(), document };
        let config = Self::read(Table::root(members), origin, &mut faults);
        let mut faults: Vec<Fault> = faults.0.into_iter().map(|f| f.code("configuration")).collect();
        drape_view::yaml::locate(&mut faults, &name, text);
        Ok((config, faults))
    }

    fn read(mut root: Table, origin: Origin, faults: &mut Faults) -> Self {
        let base = origin.base.as_path();
        let listen = root
            .required_table("listen", "where clients connect: `{address: \"0.0.0.0:8443\", tls: …}`", faults)
            .map(|t| listen(t, base, faults))
            .unwrap_or_else(nowhere);
        let admin = match root.required_table(
            "admin",
            "probes, metrics and officer pages have their own port",
            faults,
        ) {
            Some(mut t) => {
                let officer_role = t.string("officer_role", faults).unwrap_or("privacy-officer".into());
                Admin { listen: self::listen(t, base, faults), officer_role }
            }
            None => Admin { listen: nowhere(), officer_role: String::new() },
        };
        let keys =
            match root.required_table("keys", "`{root_file: …, directory: …}`; see `drape init`", faults)
            {
                Some(mut t) => {
                    let keys = Keys {
                        root_file: base.join(t.required("root_file", "make one with `drape init`", faults)),
                        directory: base.join(t.required(
                            "directory",
                            "holds wrapped keys and pseudonyms",
                            faults,
                        )),
                    };
                    t.finish(faults);
                    keys
                }
                None => Keys { root_file: PathBuf::new(), directory: PathBuf::new() },
            };
        let audit = match root.required_table("audit", "without a log Drape answers nobody", faults) {
            Some(mut t) => {
                let audit = Audit {
                    checkpoint_interval: t.millis("checkpoint_interval_ms", 1_000, 10..=600_000, faults),
                    heartbeat_interval: t.millis("heartbeat_interval_ms", 60_000, 1_000..=3_600_000, faults),
                    ..Audit::read(&mut t, base, faults)
                };
                t.finish(faults);
                audit
            }
            None => Audit {
                directory: PathBuf::new(),
                origin: String::new(),
                signing_key_file: PathBuf::new(),
                checkpoint_interval: Duration::ZERO,
                heartbeat_interval: Duration::ZERO,
            },
        };
        if !root.has("tenants") {
            let help = "at least one FHIR server to stand in front of".to_owned();
            faults.add("tenants", "is required", help);
        }
        let mut tenants: Vec<Tenant> =
            root.tables("tenants", faults).into_iter().map(|t| tenant::read(t, base, faults)).collect();
        let asks = listen.tls.as_ref().is_some_and(|tls| tls.clients.is_some());
        for (place, tenant) in tenants.iter().enumerate() {
            if !tenant.certificates.is_empty() && !asks {
                let help = "name the authorities that may vouch for clients in `listen.tls.client_ca_file`"
                    .to_owned();
                faults.add(
                    &format!("tenants[{place}].certificates"),
                    "no certificate is ever asked for",
                    help,
                );
            }
        }
        for own in tenants.iter_mut().filter_map(|t| t.audit.as_mut()) {
            own.checkpoint_interval = audit.checkpoint_interval;
            own.heartbeat_interval = audit.heartbeat_interval;
        }
        own_logs(&audit, &tenants, faults);
        for (place, tenant) in tenants.iter().enumerate() {
            for earlier in &tenants[..place] {
                if earlier.name == tenant.name {
                    faults.add(
                        &format!("tenants[{place}].name"),
                        format!("`{}` is taken", tenant.name),
                        None,
                    );
                }
                if place_of(&earlier.public_base_url) == place_of(&tenant.public_base_url) {
                    let what = format!("`{}` is served by tenant `{}`", tenant.public_base_url, earlier.name);
                    faults.add(&format!("tenants[{place}].public_base_url"), what, None);
                }
            }
        }
        let budgets: Vec<Budget> =
            root.tables("budgets", faults).into_iter().map(|t| budget(t, base, &tenants, faults)).collect();
        for (place, budget) in budgets.iter().enumerate() {
            if budgets[..place].iter().any(|b| b.name == budget.name) {
                faults.add(&format!("budgets[{place}].name"), format!("`{}` is taken", budget.name), None);
            }
            if budgets[..place].iter().any(|b| b.tenant == budget.tenant) {
                let help =
                    "two budgets over the same patients would add up without anyone counting".to_owned();
                let what = format!("tenant `{}` has a budget already", budget.tenant);
                faults.add(&format!("budgets[{place}].tenant"), what, help);
            }
        }
        let limits = match root.table("limits", faults) {
            Some(t) => limits(t, faults),
            None => Limits::default(),
        };
        let reload = reload(root.table("reload", faults), faults);
        root.finish(faults);
        Self { listen, admin, tenants, keys, audit, budgets, limits, reload, origin }
    }
}

/// Host and path by which requests are told apart: host names have no case, and the usual port may be left out.
fn place_of(url: &str) -> Option<(String, u16, String)> {
    let uri: http::Uri = url.parse().ok()?;
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let path = uri.path().trim_end_matches('/').to_owned();
    Some((uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(usual), path))
}

/// Logs that share a directory, a name or a key would not be separate.
fn own_logs(common: &Audit, tenants: &[Tenant], faults: &mut Faults) {
    let mut known = vec![common];
    for (place, own) in tenants.iter().enumerate().filter_map(|(n, t)| Some((n, t.audit.as_ref()?))) {
        let path = format!("tenants[{place}].audit");
        for other in &known {
            for (key, same) in [
                ("directory", own.directory == other.directory),
                ("origin", own.origin == other.origin),
                ("signing_key_file", own.signing_key_file == other.signing_key_file),
            ] {
                if same {
                    let help = "a log of its own has its own directory, name and key".to_owned();
                    faults.add(&format!("{path}.{key}"), "is that of another log", help);
                }
            }
        }
        known.push(own);
    }
}

impl Audit {
    /// What every log has of its own; how often it is published is said once for all.
    fn read(t: &mut Table, base: &Path, faults: &mut Faults) -> Self {
        Self {
            directory: base.join(t.required("directory", "holds the log", faults)),
            origin: t.required("origin", "the log's name, e.g. `drape.example.org/audit`", faults),
            signing_key_file: base.join(t.required("signing_key_file", "make one with `drape init`", faults)),
            checkpoint_interval: Duration::ZERO,
            heartbeat_interval: Duration::ZERO,
        }
    }
}

fn reload(table: Option<Table>, faults: &mut Faults) -> Reload {
    let Some(mut t) = table else {
        return Reload {
            interval: Duration::from_secs(5),
            tests: true,
            streams_timeout: Duration::from_secs(60),
        };
    };
    let reload = Reload {
        interval: t.millis("interval_ms", 5_000, 0..=3_600_000, faults),
        tests: t.flag("tests", true, faults),
        streams_timeout: t.millis("streams_timeout_ms", 60_000, 0..=3_600_000, faults),
    };
    t.finish(faults);
    reload
}

fn nowhere() -> Listen {
    Listen { address: SocketAddr::from(([127, 0, 0, 1], 0)), tls: None }
}

fn listen(mut t: Table, base: &Path, faults: &mut Faults) -> Listen {
    let text = t.required("address", "an address with a port, e.g. `0.0.0.0:8443`", faults);
    let address = match text.parse() {
        Ok(address) => address,
        Err(_) => {
            if !text.is_empty() {
                let help = "write an IP address and a port, e.g. `0.0.0.0:8443` or `[::]:8443`".to_owned();
                faults.add(&t.at("address"), format!("`{text}` is not an address with a port"), help);
            }
            nowhere().address
        }
    };
    let plaintext = t.flag("plaintext", false, faults);
    let tls = t.table("tls", faults).map(|mut t| {
        let tls = ServerTls {
            certificate_file: base.join(t.required("certificate_file", "PEM, leaf first", faults)),
            key_file: base.join(t.required("key_file", "PEM", faults)),
            clients: client_tls(&mut t, base, faults),
        };
        t.finish(faults);
        tls
    });
    match (&tls, plaintext) {
        (None, false) => faults.add(
            &t.at("tls"),
            "is required",
            "give certificate_file and key_file, or say `plaintext: true` where TLS ends before Drape"
                .to_owned(),
        ),
        (Some(_), true) => {
            faults.add(&t.at("plaintext"), "contradicts `tls`", "keep one of the two".to_owned())
        }
        _ => {}
    }
    t.finish(faults);
    Listen { address, tls }
}

fn client_tls(t: &mut Table, base: &Path, faults: &mut Faults) -> Option<ClientTls> {
    let ca_file = t.file("client_ca_file", base, faults);
    let word = t.string("client_certificates", faults);
    let required = match word.as_deref() {
        None | Some("optional") => false,
        Some("required") => true,
        Some(other) => {
            let what = format!("`{other}` is not known");
            faults.add(&t.at("client_certificates"), what, "known: optional, required".to_owned());
            false
        }
    };
    if ca_file.is_none() && word.is_some() {
        let help = "name the authorities that may vouch for clients in `client_ca_file`".to_owned();
        faults.add(&t.at("client_certificates"), "has no authorities", help);
    }
    ca_file.map(|ca_file| ClientTls { ca_file, required })
}

fn budget(mut t: Table, base: &Path, tenants: &[Tenant], faults: &mut Faults) -> Budget {
    let name = t.required("name", "a short name, e.g. `public-health`", faults);
    let tenant = t.required("tenant", "the tenant whose patients it guards", faults);
    if !tenant.is_empty() && !tenants.iter().any(|x| x.name == tenant) {
        let known: Vec<&str> = tenants.iter().map(|x| x.name.as_str()).collect();
        faults.add(
            &t.at("tenant"),
            format!("`{tenant}` is no tenant"),
            format!("known: {}", known.join(", ")),
        );
    }
    let mut epsilon = |key: &'static str, default: &str, t: &mut Table| {
        let text = t.string(key, faults).unwrap_or(default.to_owned());
        match nano(&text) {
            Some(n) if n > 0 => n,
            _ => {
                let help = "a decimal in quotes with at most nine places, e.g. \"0.1\"".to_owned();
                faults.add(&t.at(key), format!("`{text}` is not a privacy loss"), help);
                0
            }
        }
    };
    let total_nano = epsilon("epsilon_total", "10", &mut t);
    let per_caller_nano = epsilon("epsilon_per_caller", "3", &mut t);
    let per_query_nano = epsilon("epsilon_per_query", "0.1", &mut t);
    if per_query_nano > total_nano {
        faults.add(&t.at("epsilon_per_query"), "is more than the whole budget", None);
    }
    let budget = Budget {
        organization: t.required("organization", "`Organization::\"…\"` in policies", faults),
        ledger_file: base.join(t.required("ledger_file", "where the charges are kept", faults)),
        name,
        tenant,
        total_nano,
        per_caller_nano,
        per_query_nano,
    };
    t.finish(faults);
    budget
}

/// `0.1` → 100,000,000. At most nine decimal places, below 2⁵³ nano.
pub(crate) fn nano(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || whole.len() > 6 || part.len() > 9 || !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<9}").parse().ok()?;
    Some(whole * 1_000_000_000 + part)
}

fn limits(mut t: Table, faults: &mut Faults) -> Limits {
    let d = Limits::default();
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let mut size = |key, default: usize, max: u64, t: &mut Table| {
        usize::try_from(t.whole(key, default as u64, 1..=max, faults)).unwrap_or(default)
    };
    let header_bytes_max = size("header_bytes_max", d.header_bytes_max, MIB, &mut t);
    let header_count_max = size("header_count_max", d.header_count_max, 1_000, &mut t);
    let request_body_bytes_max = size("request_body_bytes_max", d.request_body_bytes_max, 1024 * MIB, &mut t);
    let token_bytes_max = size("token_bytes_max", d.token_bytes_max, MIB, &mut t);
    let entry_bytes_max = size("entry_bytes_max", d.entry_bytes_max, 1024 * MIB, &mut t);
    let held_bytes_max = size("held_bytes_max", d.held_bytes_max, 65_536 * MIB, &mut t);
    let json_depth_max = size("json_depth_max", d.json_depth_max, 1_000, &mut t);
    let concurrent_requests_max =
        size("concurrent_requests_max", d.concurrent_requests_max, 1_000_000, &mut t);
    let connections_max = size("connections_max", d.connections_max, 1_000_000, &mut t);
    let streams_max = size("streams_max", d.streams_max as usize, 10_000, &mut t);
    if entry_bytes_max > held_bytes_max {
        let help = "held_bytes_max bounds all entries together, entry_bytes_max one".to_owned();
        faults.add(&t.at("entry_bytes_max"), "is more than held_bytes_max", help);
    }
    let hour = 3_600_000;
    let limits = Limits {
        header_bytes_max,
        header_count_max,
        request_body_bytes_max,
        token_bytes_max,
        entry_bytes_max,
        held_bytes_max,
        response_bytes_max: t.whole("response_bytes_max", d.response_bytes_max, 1..=u64::MAX / 2, faults),
        json_depth_max,
        concurrent_requests_max,
        connections_max,
        streams_max: u32::try_from(streams_max).unwrap_or(d.streams_max),
        header_timeout: t.millis("header_timeout_ms", ms(d.header_timeout), 1..=hour, faults),
        request_timeout: t.millis("request_timeout_ms", ms(d.request_timeout), 1..=hour * 24, faults),
        upstream_timeout: t.millis("upstream_timeout_ms", ms(d.upstream_timeout), 1..=hour, faults),
        upstream_idle_timeout: t.millis(
            "upstream_idle_timeout_ms",
            ms(d.upstream_idle_timeout),
            1..=hour,
            faults,
        ),
        connect_timeout: t.millis("connect_timeout_ms", ms(d.connect_timeout), 1..=hour, faults),
        drain_timeout: t.millis("drain_timeout_ms", ms(d.drain_timeout), 0..=hour, faults),
        page_lifetime: t.millis("page_lifetime_ms", ms(d.page_lifetime), 1_000..=hour * 24, faults),
        export_lifetime: t.millis("export_lifetime_ms", ms(d.export_lifetime), 1_000..=hour * 720, faults),
    };
    t.finish(faults);
    limits
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes_max: 32 << 10,
            header_count_max: 100,
            request_body_bytes_max: 16 << 20,
            token_bytes_max: 16 << 10,
            entry_bytes_max: 16 << 20,
            held_bytes_max: 256 << 20,
            response_bytes_max: 4 << 30,
            json_depth_max: 64,
            concurrent_requests_max: 1_024,
            connections_max: 4_096,
            streams_max: 100,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(300),
            upstream_timeout: Duration::from_secs(60),
            upstream_idle_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(30),
            page_lifetime: Duration::from_secs(900),
            export_lifetime: Duration::from_secs(24 * 3_600),
        }
    }
}

#[cfg(test)]
mod tests;
