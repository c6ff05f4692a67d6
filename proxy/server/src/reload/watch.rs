//! Looks at the files every few seconds, and whenever SIGHUP or somebody inside asks for it.

use std::sync::Arc;

use tokio::sync::watch::Receiver;

use super::fingerprint::{self, Fingerprint};
use super::{Front, Why, reload};
use crate::listen::stopped as until;
use crate::parts::Parts;

/// Until the process stops. `seen` is what the files were when everything was opened.
pub(crate) async fn watch(
    parts: Arc<Parts>,
    fronts: Vec<Front>,
    seen: Fingerprint,
    mut stopped: Receiver<bool>,
) {
    let interval = parts.config.reload.interval;
    let mut hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())
        .inspect_err(|error| tracing::error!(%error, "SIGHUP cannot be listened for"))
        .ok();
    let mut taken = seen;
    let mut unsettled: Option<Fingerprint> = None;
    loop {
        let asked = async {
            let came = match &mut hangup {
                Some(signal) => signal.recv().await,
                None => None,
            };
            if came.is_none() {
                std::future::pending::<()>().await;
            }
        };
        let tick = async {
            match interval.is_zero() {
                true => std::future::pending().await,
                false => tokio::time::sleep(interval).await,
            }
        };
        let why = tokio::select! {
            () = until(&mut stopped) => return,
            () = asked => Some(Why::Asked),
            () = parts.reloads.asked.notified() => Some(Why::Changed),
            () = tick => None,
        };
        let Some(now) = look(&parts).await else { continue };
        match why {
            Some(why) => reload(&parts, &fronts, why).await,
            None if now == taken => {
                unsettled = None;
                continue;
            }
            // Somebody may still be writing: half of a set could be a valid one, without its prohibitions. What stands
            // still from one look to the next is taken.
            None if unsettled != Some(now) => {
                unsettled = Some(now);
                continue;
            }
            None => reload(&parts, &fronts, Why::Changed).await,
        }
        taken = now;
        unsettled = None;
    }
}

async fn look(parts: &Arc<Parts>) -> Option<Fingerprint> {
    let of = Arc::clone(parts);
    tokio::task::spawn_blocking(move || fingerprint::of_all(&of.config))
        .await
        .inspect_err(|error| tracing::error!(%error, "the files cannot be looked at"))
        .ok()
}
