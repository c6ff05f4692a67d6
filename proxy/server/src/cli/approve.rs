//! `drape approve`: an officer approves of a policy digest, and the log has it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::source::pick;
use super::{Failure, prepare, runtime, say};
use crate::approvals;
use crate::client::{Client, read_bounded};
use crate::clock::Clock;
use crate::config::{Config, Tenant};
use crate::parts::{Parts, load_policies};
use crate::stages::admit::{Peer, admit};
use crate::workbench::sheet::Sheet;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The configuration.
    #[arg(short, long, default_value = "drape.yaml")]
    config: PathBuf,
    /// Which tenant; may be left out where there is only one.
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The digest that is approved of, as `drape sheet` prints it.
    #[arg(long)]
    digest: String,
    /// A file with an officer's access token.
    #[arg(long, value_name = "FILE")]
    token: PathBuf,
    /// Write into the log itself: for the first start, while no proxy runs.
    #[arg(long, conflicts_with_all = ["admin", "ca_file"])]
    offline: bool,
    /// Where the running proxy's admin port is; found in the configuration where nothing is named.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// PEM roots for it, instead of the public ones.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Runs the verb.
pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let config = Config::load(&arguments.config)?;
    let tenant = pick(config.tenants.clone(), arguments.tenant.as_deref())?;
    let token = std::fs::read_to_string(&arguments.token)
        .map_err(|e| Failure::new(format!("cannot read the token `{}`: {e}", arguments.token.display())))?;
    let token = Zeroizing::new(token.trim().to_owned());
    let sheet = sheet(&tenant, &arguments.digest)?;
    prepare();
    let told = match arguments.offline {
        true => runtime()?.block_on(offline(config, &tenant, &arguments.digest, &sheet, &token))?,
        false => runtime()?.block_on(online(arguments, &config, &tenant, &sheet, &token))?,
    };
    say(told.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// The hash of the sheet of the policies that stand in the files, which must be those of the digest.
fn sheet(tenant: &Tenant, digest: &str) -> Result<String, Failure> {
    let loaded = load_policies(&tenant.policies, Some(&tenant.upstream)).map_err(|f| Failure::faults(&f))?;
    if loaded.set.digest() != digest {
        return Err(Failure::new(format!(
            "the policies of tenant `{}` have another digest than `{digest}`\n  help: it is {}; read `drape sheet` before \
             you approve of it",
            tenant.name,
            loaded.set.digest()
        )));
    }
    Ok(Sheet::of(&loaded, &loaded.personas).hash())
}

async fn online(
    arguments: &Arguments,
    config: &Config,
    tenant: &Tenant,
    sheet: &str,
    token: &str,
) -> Result<String, Failure> {
    let base = match &arguments.admin {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => {
            let listen = &config.admin.listen;
            let mut address = listen.address;
            if address.ip().is_unspecified() {
                address.set_ip(match address.ip() {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
                });
            }
            let scheme = if listen.tls.is_some() { "https" } else { "http" };
            format!("{scheme}://{address}")
        }
    };
    let client = Client::new(arguments.ca_file.as_deref(), TIMEOUT)?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::new("the token file does not hold a token"))?;
    authorization.set_sensitive(true);
    let form = format!("tenant={}&digest={}&sheet={sheet}", tenant.name, arguments.digest);
    let request = Request::post(format!("{base}/officer/approve"))
        .header(header::AUTHORIZATION, authorization)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Full::new(Bytes::from(form)))?;
    let help =
        "is the proxy running? `--admin URL` says where; `--offline` writes into the log while none runs";
    let answer = client
        .send(request, TIMEOUT)
        .await
        .map_err(|e| Failure::new(format!("cannot ask `{base}`: {e}\n  help: {help}")))?;
    let status = answer.status();
    let body = read_bounded(answer.into_body(), ANSWER_BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&body).trim().to_owned();
    if status == http::StatusCode::OK { Ok(text) } else { Err(Failure::new(text)) }
}

async fn offline(
    config: Config,
    tenant: &Tenant,
    digest: &str,
    sheet: &str,
    token: &str,
) -> Result<String, Failure> {
    // The log, the key table and the ledgers have one writer: this fails while a proxy runs.
    let opened = tokio::task::spawn_blocking(move || Parts::open(config, Clock::system())).await?;
    let parts = Arc::new(opened.map_err(|e| {
        Failure::new(format!(
            "{e}\n  help: `--offline` is for when no proxy runs; leave it out where one does"
        ))
    })?);
    let approved = approve(&parts, &tenant.name, digest, sheet, token).await;
    let logs: Vec<_> = parts.books.iter().map(|book| Arc::clone(&book.log)).collect();
    // Waits for the disk, and signs what was written.
    tokio::task::spawn_blocking(move || logs.iter().for_each(|log| log.close())).await?;
    approved
}

async fn approve(
    parts: &Parts,
    tenant: &str,
    digest: &str,
    sheet: &str,
    token: &str,
) -> Result<String, Failure> {
    let tenant = parts.tenant(tenant).ok_or_else(|| Failure::new("the tenant is gone"))?;
    let mut headers = http::HeaderMap::new();
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::new("the token file does not hold a token"))?;
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    let admitted = admit(&tenant, &headers, &Peer::default())
        .await
        .map_err(|refusal| Failure::new(format!("the token is not accepted: {}", refusal.reason)))?;
    let role = &parts.config.admin.officer_role;
    if !admitted.caller.roles.contains(role) {
        return Err(Failure::new(format!("the token is valid, but its purpose activates no role `{role}`")));
    }
    let approvals = approvals::approve(parts, &tenant, &admitted.caller, digest, sheet, None).await?;
    Ok(format!(
        "approved; {} of {} needed: {}",
        approvals.len(),
        tenant.approvals_required,
        approvals::names(&approvals)
    ))
}
