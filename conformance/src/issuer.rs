//! An issuer of the suite's own, for tests that need no Java or Node, and for tokens that no honest issuer would sign.

use std::sync::Arc;
use std::time::Duration;

use drape_demo::{Ambient, Cast, Issuer, Persona};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::{Fault, Outcome};

/// A served issuer with a key of its own; it ends with the process or when dropped.
pub struct Own {
    issuer: Arc<Issuer>,
    url: String,
    // Serves as long as it lives.
    _runtime: tokio::runtime::Runtime,
}

impl Own {
    /// For a cast made of `resources`; tokens are for `audience` unless a test changes that.
    pub fn start(resources: &[Value]) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        let url = format!("http://{}", listener.local_addr()?);
        let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
        let cast = Cast::derive(resources, today)?;
        let zone = TimeZone::get("America/New_York")?;
        let issuer = Arc::new(Issuer::new(&url, &[], cast, zone, Ambient::system())?);
        let served = Arc::clone(&issuer);
        runtime.spawn(drape_demo::serve::issuer(listener, served, std::future::pending()));
        Ok(Self { issuer, url, _runtime: runtime })
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The claims of a persona's token for `audience`, to be changed before they are signed.
    pub fn claims(&self, persona: Persona, audience: &str) -> Outcome<Map<String, Value>> {
        let mut claims = self.issuer.claims_at(persona, Timestamp::now(), Duration::from_secs(900))?;
        claims.insert("aud".into(), audience.into());
        Ok(claims)
    }

    /// A persona's token for `audience`.
    pub fn token(&self, persona: Persona, audience: &str) -> Outcome<String> {
        self.sign(&self.claims(persona, audience)?)
    }

    /// Signs whatever it is given.
    pub fn sign(&self, claims: &Map<String, Value>) -> Outcome<String> {
        self.issuer.sign(claims).map_err(Fault::new)
    }
}
