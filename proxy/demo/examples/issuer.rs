//! Serves the demonstration's issuer and prints a token for each caller of the benchmark: `issuer ADDRESS AUDIENCE`.
//!
//! One line a caller, `name token`, then an empty line: from then on the issuer answers, until standard input ends.
//! The callers are those of the demonstration, but for two: the doctor treats the one patient of the benchmark, and a
//! `registry` does research in a role that only the benchmark's policies know.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use drape_demo::{Ambient, Issuer, Persona, Population};
use serde_json::json;

/// Longer than any run.
const TTL: Duration = Duration::from_secs(6 * 3_600);

/// The patient whose record the benchmark reads.
const PATIENT: &str = "p1";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(audience)) = (arguments.next(), arguments.next()) else {
        return Err(
            "say where to listen and for whom the tokens are: `issuer 127.0.0.1:9000 http://…/fhir`".into()
        );
    };
    let today = jiff::Zoned::now().date();
    let cast = Population::generate(1, today).cast;
    let url = format!("http://{address}");
    let issuer = Issuer::new(&url, &[&audience], cast, jiff::tz::TimeZone::UTC, Ambient::system())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind(&address))?;

    let now = jiff::Timestamp::now();
    let mut out = std::io::stdout().lock();
    for (name, persona) in [
        ("records-officer", Persona::RecordsOfficer),
        ("doctor", Persona::Doctor),
        ("billing", Persona::Billing),
        ("researcher", Persona::Researcher),
        ("registry", Persona::Researcher),
    ] {
        let mut claims = issuer.claims_at(persona, now, TTL)?;
        match name {
            "doctor" => {
                let relation = json!([{"patient": format!("Patient/{PATIENT}"), "is": ["treating"]}]);
                claims.insert("relations".into(), relation);
            }
            "registry" => {
                claims.insert("roles".into(), json!(["registry"]));
            }
            _ => {}
        }
        writeln!(out, "{name} {}", issuer.sign(&claims)?)?;
    }
    writeln!(out)?;
    drop(out);

    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whoever started this is gone when the pipe closes.
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = end.send(());
    });
    runtime.block_on(drape_demo::serve::issuer(listener, Arc::new(issuer), async {
        let _ = ended.await;
    }))?;
    Ok(())
}
