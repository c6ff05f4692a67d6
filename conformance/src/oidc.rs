//! A real OpenID provider (npm `oidc-provider`) whose clients are the personas.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::child::Child;
use crate::http::{Call, encode};
use crate::{Fault, Outcome, places};

/// The provider; ended when dropped.
#[derive(Debug)]
pub struct Provider {
    /// `iss`.
    pub url: String,
    _child: Child,
}

impl Provider {
    /// Starts it for `personas` (client → claims) and an audience.
    pub fn start(work: &Path, port: u16, personas: &Map<String, Value>, audience: &str) -> Outcome<Self> {
        let folder = places::root().join("conformance/oidc");
        places::existing(folder.join("node_modules"), "run `npm ci` in conformance/oidc")?;
        let file: PathBuf = work.join("personas.json");
        std::fs::write(&file, Value::Object(personas.clone()).to_string())?;
        let url = format!("http://127.0.0.1:{port}");
        let mut command = Command::new("node");
        command.arg(folder.join("provider.mjs")).arg(port.to_string()).arg(&file).arg(audience);
        let mut child = Child::start("oidc-provider", command, &work.join("oidc.out"))?;
        let probe = format!("{url}/.well-known/openid-configuration");
        child.until(Duration::from_secs(60), || Call::get(&probe).send().is_ok_and(|r| r.status == 200))?;
        Ok(Self { url, _child: child })
    }

    /// A token by the client credentials grant; for another resource than Drape where one is named.
    pub fn token(&self, client: &str, scope: &str, resource: Option<&str>) -> Outcome<String> {
        let mut form = format!("grant_type=client_credentials&scope={}", encode(scope));
        if let Some(resource) = resource {
            form.push_str(&format!("&resource={}", encode(resource)));
        }
        let basic = STANDARD.encode(format!("{}:{}", encode(client), encode(&format!("{client}-secret"))));
        let reply = Call::post(format!("{}/token", self.url), "application/x-www-form-urlencoded", form)
            .header("Authorization", &format!("Basic {basic}"))
            .send()?
            .expect(200)?
            .json()?;
        match reply["access_token"].as_str() {
            Some(token) if token.split('.').count() == 3 => Ok(token.to_owned()),
            _ => Err(Fault(format!("no JWT for `{client}`: {reply}"))),
        }
    }
}
