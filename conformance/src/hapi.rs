//! A real FHIR server: HAPI JPA, started here or found where `DRAPE_HAPI_URL` says; and questions asked of it directly.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::child::Child;
use crate::http::Call;
use crate::{Fault, Outcome, places};

/// A HAPI server; ended when dropped, if it was started here.
#[derive(Debug)]
pub struct Hapi {
    /// Its base URL.
    pub base: String,
    _child: Option<Child>,
}

/// Building it the first time fetches some 300 MB.
const BUILT_AND_READY_WITHIN: Duration = Duration::from_secs(900);

impl Hapi {
    /// Starts one, or takes the one that `DRAPE_HAPI_URL` names.
    pub fn start(work: &std::path::Path) -> Outcome<Self> {
        if let Some(base) = places::setting("DRAPE_HAPI_URL") {
            Call::get(format!("{base}/metadata")).send()?.expect(200)?;
            return Ok(Self { base, _child: None });
        }
        let port = places::free_port()?;
        let mut command = Command::new(places::root().join("conformance/upstreams/hapi/start.sh"));
        command.env("HAPI_PORT", port.to_string()).env("HAPI_FOREGROUND", "1");
        let mut child = Child::start("HAPI", command, &work.join("hapi.out"))?;
        let base = format!("http://127.0.0.1:{port}/fhir");
        let probe = format!("{base}/metadata");
        child.until(BUILT_AND_READY_WITHIN, || Call::get(&probe).send().is_ok_and(|r| r.status == 200))?;
        Ok(Self { base, _child: Some(child) })
    }

    /// A Java program from the same jar: HAPI's validator, HAPI's client.
    pub fn java(&self, main: &str) -> Command {
        let place = places::root().join("conformance/upstreams/hapi/target");
        let mut command = Command::new("java");
        command.args(["-Xmx2000m", "-XX:+UseSerialGC", "-cp"]);
        command.arg(format!("{0}/hapi-upstream.jar:{0}/lib/*", place.display())).arg(main);
        command
    }

    /// What it answers to GET, without Drape.
    pub fn get(&self, path: &str) -> Outcome<crate::http::Reply> {
        Call::get(format!("{}/{path}", self.base)).send()
    }

    /// One record.
    pub fn read(&self, path: &str) -> Outcome<Value> {
        self.get(path)?.expect(200)?.json()
    }

    /// All records that a search finds, over all pages.
    pub fn all(&self, search: &str) -> Outcome<Vec<Value>> {
        let mark = if search.contains('?') { '&' } else { '?' };
        let mut next = Some(format!("{}/{search}{mark}_count=500", self.base));
        let mut found = Vec::new();
        while let Some(url) = next {
            let page = Call::get(&url).send()?.expect(200)?.json()?;
            for entry in page["entry"].as_array().into_iter().flatten() {
                found.push(entry["resource"].clone());
            }
            let links = page["link"].as_array().into_iter().flatten();
            next =
                links.filter(|l| l["relation"] == "next").find_map(|l| l["url"].as_str().map(str::to_owned));
        }
        Ok(found)
    }

    /// Posts a transaction.
    pub fn transaction(&self, bundle: &[u8]) -> Outcome {
        let call = Call::post(&self.base, "application/fhir+json", bundle).within(Duration::from_secs(180));
        let reply = call.send()?;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(Fault(format!("HAPI answers {}: {}", reply.status, reply.text())))
        }
    }
}
