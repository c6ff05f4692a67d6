//! The program under test as a process: its configuration, its start, its end by SIGTERM or SIGKILL, its audit commands.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::{Child, Ran, run};
use crate::http::Call;
use crate::{Fault, Outcome, places};

/// What is put before which server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base URL of the FHIR server behind.
    pub upstream: String,
    /// Its dialect.
    pub dialect: &'static str,
    /// How Drape proves to it who it is.
    pub auth: Value,
    /// The issuer's URL, and the algorithm it signs with.
    pub issuer: (String, &'static str),
    /// Other keys of the issuer.
    pub issuer_more: Value,
    /// Files that the configuration names, written beside it.
    pub files: Vec<(&'static str, String)>,
    /// All of the budget and a question's cost, as decimals.
    pub epsilon: (&'static str, &'static str),
    /// Limits that are not the defaults.
    pub limits: Value,
    /// Instead of the shipped `facts.yaml`.
    pub facts: Option<&'static str>,
    /// Where the log lies, when not in the folder of the others.
    pub log: Option<PathBuf>,
    /// Bytes that no file may grow beyond, as if the disk ended there.
    pub file_bytes_max: Option<u64>,
}

/// A configured Drape, running or not.
#[derive(Debug)]
pub struct Drape {
    /// The base URL that clients use.
    pub base: String,
    /// The admin listener.
    pub admin: String,
    folder: PathBuf,
    settings: Settings,
    child: Option<Child>,
}

/// The name of the one tenant and the one budget.
pub const BUDGET: &str = "public-health";

const READY_WITHIN: Duration = Duration::from_secs(60);
const COMMAND_WITHIN: Duration = Duration::from_secs(60);

impl Settings {
    /// The defaults, before that server, with tokens of that issuer.
    pub fn new(upstream: &str, dialect: &'static str, issuer: &str, algorithm: &'static str) -> Self {
        Self {
            upstream: upstream.to_owned(),
            dialect,
            auth: json!({ "kind": "none" }),
            issuer: (issuer.to_owned(), algorithm),
            issuer_more: json!({}),
            files: Vec::new(),
            epsilon: ("5", "0.1"),
            limits: json!({}),
            facts: None,
            log: None,
            file_bytes_max: None,
        }
    }

    /// The configuration. JSON is YAML.
    fn text(&self, port: u16, admin: u16) -> String {
        let log = self.log.clone().unwrap_or_else(|| PathBuf::from("log"));
        let mut policies = json!({ "set": "hospital" });
        if self.facts.is_some() {
            policies["facts_file"] = json!("facts.yaml");
        }
        let mut issuer = json!({
            "issuer": self.issuer.0, "plaintext": true, "algorithms": [self.issuer.1], "clock_skew_ms": 0,
            "purposes": {
                "TREAT": ["clinician", "nurse"], "HPAYMT": ["billing"], "HRESCH": ["researcher"],
                "PATRQT": ["patient"], "FAMRQT": ["guardian"], "PUBHLTH": ["analyst"],
                "HOPERAT": ["privacy-officer", "records-officer"],
            },
        });
        for (name, value) in self.issuer_more.as_object().into_iter().flatten() {
            issuer[name] = value.clone();
        }
        json!({
            "listen": { "address": format!("127.0.0.1:{port}"), "plaintext": true },
            "admin": { "address": format!("127.0.0.1:{admin}"), "plaintext": true },
            "keys": { "root_file": "root.key", "directory": "keys" },
            "audit": {
                "directory": log, "origin": "drape.test/audit", "signing_key_file": "signing.key",
                "checkpoint_interval_ms": 200,
            },
            "tenants": [{
                "name": "main",
                "public_base_url": format!("http://127.0.0.1:{port}/fhir"),
                "time_zone": "America/New_York",
                "upstream": {
                    "base_url": self.upstream, "plaintext": true, "dialect": self.dialect, "auth": self.auth,
                },
                "issuers": [issuer],
                "policies": policies,
            }],
            "budgets": [{
                "name": BUDGET, "tenant": "main", "organization": "public-health", "ledger_file": "ledger.redb",
                "epsilon_total": self.epsilon.0, "epsilon_per_caller": self.epsilon.0,
                "epsilon_per_query": self.epsilon.1,
            }],
            "limits": self.limits,
        })
        .to_string()
    }
}

/// The executable: `DRAPE_BIN`, else the one that was built beside the tests.
pub fn executable(subject: &str) -> PathBuf {
    places::setting("DRAPE_BIN").map_or_else(|| PathBuf::from(subject), PathBuf::from)
}

impl Drape {
    /// Writes a configuration into `folder`, checks it and makes keys and log. `subject` is the executable.
    pub fn prepare(subject: &Path, folder: &Path, settings: Settings) -> Outcome<Self> {
        let (port, admin) = (places::free_port()?, places::free_port()?);
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("drape.yaml"), settings.text(port, admin))?;
        for (name, text) in &settings.files {
            std::fs::write(folder.join(name), text)?;
        }
        if let Some(facts) = settings.facts {
            std::fs::write(folder.join("facts.yaml"), facts)?;
        }
        std::fs::write(folder.join("subject"), subject.to_string_lossy().as_bytes())?;
        let drape = Self {
            base: format!("http://127.0.0.1:{port}/fhir"),
            admin: format!("http://127.0.0.1:{admin}"),
            folder: folder.to_owned(),
            settings,
            child: None,
        };
        for verb in ["init", "check"] {
            let ran = drape.command(&[verb])?;
            if ran.code != Some(0) {
                return Err(Fault(format!("`drape {verb}` says {:?}: {}{}", ran.code, ran.out, ran.err)));
            }
        }
        Ok(drape)
    }

    /// Prepares and starts.
    pub fn start(subject: &Path, folder: &Path, settings: Settings) -> Outcome<Self> {
        let mut drape = Self::prepare(subject, folder, settings)?;
        drape.serve()?;
        Ok(drape)
    }

    fn subject(&self) -> Outcome<String> {
        Ok(std::fs::read_to_string(self.folder.join("subject"))?)
    }

    /// Starts `drape serve` and waits until it is ready.
    pub fn serve(&mut self) -> Outcome {
        let (subject, config) = (self.subject()?, self.folder.join("drape.yaml"));
        let mut command = match self.settings.file_bytes_max {
            None => Command::new(&subject),
            Some(bytes) => {
                // A write beyond the limit fails as one on a full disk does; the signal that would come with it is off.
                let mut shell = Command::new("bash");
                let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", bytes / 1024);
                shell.args(["-c", &script, &subject]);
                shell
            }
        };
        command.arg("serve").arg("--config").arg(config).env("DRAPE_LOG", "info");
        let mut child = Child::start("drape", command, &self.folder.join("drape.out"))?;
        let probe = format!("{}/readyz", self.admin);
        child.until(READY_WITHIN, || Call::get(&probe).send().is_ok_and(|r| r.status == 200))?;
        self.child = Some(child);
        Ok(())
    }

    /// Waits until the capability statement is there, and with it the issuer's keys.
    pub fn described(&mut self) -> Outcome {
        let url = format!("{}/metadata", self.base);
        let child = self.child.as_mut().ok_or_else(|| Fault::new("drape is not running"))?;
        child.until(READY_WITHIN, || Call::get(&url).send().is_ok_and(|r| r.status == 200))
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Outcome {
        match self.child.take() {
            Some(mut child) => child.kill().map(drop),
            None => Err(Fault::new("drape is not running")),
        }
    }

    /// SIGTERM; it must end well.
    pub fn stop(&mut self) -> Outcome {
        let Some(mut child) = self.child.take() else { return Err(Fault::new("drape is not running")) };
        let status = child.stop(Duration::from_secs(40))?;
        if status.success() {
            Ok(())
        } else {
            Err(Fault(format!("drape ended with {status}: {}", child.last_words())))
        }
    }

    /// SIGHUP: everything is read again, the issuers' keys too.
    pub fn reload(&self) -> Outcome {
        let Some(child) = &self.child else { return Err(Fault::new("drape is not running")) };
        let id = child.id().to_string();
        run(Command::new("kill").args(["-HUP", &id]), Duration::from_secs(5)).map(drop)
    }

    /// Runs a verb of the command line on this configuration, to its end.
    pub fn command(&self, arguments: &[&str]) -> Outcome<Ran> {
        let mut command = Command::new(self.subject()?);
        command.args(arguments).arg("--config").arg(self.folder.join("drape.yaml"));
        run(&mut command, COMMAND_WITHIN)
    }

    /// `drape audit verify`; it must find the log sound.
    pub fn verify(&self) -> Outcome<Ran> {
        let ran = self.command(&["audit", "verify"])?;
        if ran.code == Some(0) {
            Ok(ran)
        } else {
            Err(Fault(format!("the log is not sound: {}{}", ran.out, ran.err)))
        }
    }

    /// The folder that holds everything of it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One value of the metrics; 0 where nothing was counted yet.
    pub fn metric(&self, name_and_labels: &str) -> Outcome<u64> {
        let text = Call::get(format!("{}/metrics", self.admin)).send()?.expect(200)?.text();
        let line = text.lines().find_map(|l| l.strip_prefix(name_and_labels)?.strip_prefix(' '));
        match line {
            None => Ok(0),
            Some(value) => {
                value.trim().parse().map_err(|_| Fault(format!("`{name_and_labels}` is `{value}`")))
            }
        }
    }

    /// What it said last.
    pub fn last_words(&self) -> String {
        self.child.as_ref().map(Child::last_words).unwrap_or_default()
    }
}
