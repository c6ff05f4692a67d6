//! `drape keys`: the public halves of keys that others must know.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, say};
use crate::config::Config;
use crate::upstream::Upstream;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Print the public keys by which token endpoints know Drape (`assertion` in `auth`), as a JWK set: what is
    /// registered at the FHIR server's authorization server.
    Jwks {
        /// The configuration.
        #[arg(short, long, default_value = "drape.yaml")]
        config: PathBuf,
        /// The tenant; may be left out where there is only one.
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// Runs a verb.
pub(super) fn run(verb: Verb) -> Result<(), Failure> {
    let Verb::Jwks { config, tenant } = verb;
    let config = Config::load(&config)?;
    let tenant = super::source::pick(config.tenants, tenant.as_deref())?;
    let upstream = Upstream::new(&tenant.upstream, config.limits.connect_timeout)?;
    match upstream.public_keys() {
        Some(keys) => {
            let keys: serde_json::Value = serde_json::from_slice(keys)?;
            say(format!("{keys:#}"));
            Ok(())
        }
        None => Err(Failure::new(format!(
            "tenant `{}` signs no assertions\n  help: they are set up by `assertion` under `upstream.auth`; see docs/identity.md",
            tenant.name
        ))),
    }
}
