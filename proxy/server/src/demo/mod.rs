//! `drape demo`: the proxy in front of a made-up hospital, or of another test server, with tokens for every persona.

mod http_client;
mod looks;
mod stage;
mod tour;

use std::path::PathBuf;
use std::time::Duration;

use drape_demo::Persona;

use crate::cli::{Failure, prepare, runtime, say};
use stage::{Plan, Stage};

/// What `drape demo` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Play the tour once and exit: 0 when everything came out as it should.
    #[arg(long)]
    once: bool,
    /// Stand in front of this FHIR R4 server instead of the embedded one. Relations are derived from its data.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Allow an upstream that is not on this machine. The demo's issuer asks nobody for a password: whoever reaches
    /// it can be anybody.
    #[arg(long, requires = "upstream")]
    force: bool,
    /// Which made-up population.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep configuration, policies, keys and log in this folder instead of a temporary one; call it again to go on
    /// with what you changed there.
    #[arg(long, value_name = "FOLDER")]
    directory: Option<PathBuf>,
    /// The first of four ports on the loopback interface: proxy, admin, issuer, FHIR server. 0 takes free ones.
    #[arg(long)]
    port: Option<u16>,
}

/// How long the tokens of an open demo live.
const TOKEN_LIFE: Duration = Duration::from_secs(8 * 3_600);

/// Runs the demo.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    if let Some(url) = &arguments.upstream {
        may_stand_before(url, arguments.force)?;
    }
    if !arguments.once {
        let filter = tracing_subscriber::EnvFilter::try_from_env("DRAPE_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    }
    prepare();
    let plan = Plan {
        upstream: arguments.upstream.clone(),
        seed: arguments.seed,
        directory: arguments.directory.clone(),
        resume: !arguments.once,
        port: arguments.port.unwrap_or(if arguments.once { 0 } else { 8480 }),
    };
    runtime()?.block_on(async {
        let mut stage = Stage::set(plan).await?;
        let result = if arguments.once {
            tour::play(&mut stage).await
        } else {
            let lines = paste(&stage);
            match lines {
                Ok(()) => {
                    crate::serve::asked_to_stop().await;
                    say("\nstopping");
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        };
        stage.clear().await;
        result
    })
}

/// A host that is not this machine is somebody's server; its records would be open to whoever reaches the demo.
fn may_stand_before(url: &str, force: bool) -> Result<(), Failure> {
    let uri: http::Uri = url.parse().map_err(|e| Failure::new(format!("`{url}` is not an address: {e}")))?;
    let Some(host) = uri.host() else {
        return Err(Failure::new(format!("`{url}` names no host; write e.g. http://127.0.0.1:8090/fhir")));
    };
    let bare = host.trim_matches(['[', ']']);
    let local = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if local || force {
        return Ok(());
    }
    Err(Failure::new(format!(
        "`{host}` is not this machine, and the demo gives tokens to whoever asks\n  help: use a test server on the \
         loopback interface, or say `--force` if `{host}` holds no real patients"
    )))
}

/// Lines for a shell, one a persona.
fn paste(stage: &Stage) -> Result<(), Failure> {
    let base = &stage.public_base;
    let cast = stage.issuer.cast();
    say(format!(
        "Drape stands in front of {} ({})\n\n  FHIR, through Drape   {base}\n  officer page          {}/officer\n  metrics               {}/metrics\n  FHIR, without Drape   {}\n  issuer                {}\n  policies, log, keys   {}\n",
        if stage.embedded { "a made-up hospital" } else { "your FHIR server" },
        stage.patients,
        stage.admin_base,
        stage.admin_base,
        stage.upstream_base,
        stage.issuer.url(),
        stage.directory.display(),
    ));
    let figures = &cast.figures;
    let lead = figures.lead.as_deref().unwrap_or("unknown");
    for persona in Persona::ALL {
        let Some(member) = cast.member(persona) else { continue };
        let token = stage.issuer.token(persona, TOKEN_LIFE)?;
        let header = stage.keep_token(persona, &token)?;
        let target = match persona {
            Persona::Doctor | Persona::Nurse | Persona::Billing | Persona::RecordsOfficer => {
                format!("Patient/{lead}")
            }
            Persona::Patient => format!("Condition?patient={lead}"),
            Persona::Researcher => "Condition?_count=2".to_owned(),
            Persona::Guardian => {
                format!("Condition?patient={}", figures.adolescent.as_deref().unwrap_or(lead))
            }
            Persona::Analyst => "Patient?gender=female&_summary=count".to_owned(),
            Persona::Attacker => format!("Patient/{lead}"),
            Persona::Officer => {
                say(format!(
                    "# {}: paste the token into the officer page\ncat {}\n",
                    member.name,
                    stage.token_file(persona).display()
                ));
                continue;
            }
        };
        say(format!(
            "# {} ({})\ncurl -s -H @{} '{base}/{target}'\n",
            member.name,
            persona.word(),
            header.display()
        ));
    }
    say(if stage.is_temporary() {
        "Tokens last eight hours. Ctrl-C ends the demo and removes the folder; with `--directory FOLDER` it stays, and\nthe same command goes on with the policies you changed in it."
    } else {
        "Tokens last eight hours. Ctrl-C ends the demo; the same command goes on with the policies you changed in the folder."
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_stood_in_front_of_unless_forced() {
        for local in ["http://127.0.0.1:8090/fhir", "http://localhost:8090/fhir", "http://[::1]:8090/fhir"] {
            assert!(may_stand_before(local, false).is_ok(), "{local}");
        }
        for other in ["https://ehr.example.org/fhir", "http://10.0.0.7/fhir", "http://127.0.0.1.example.org/"]
        {
            assert!(may_stand_before(other, false).is_err(), "{other}");
            assert!(may_stand_before(other, true).is_ok(), "{other}");
        }
        assert!(may_stand_before("not an address", true).is_err());
    }
}
