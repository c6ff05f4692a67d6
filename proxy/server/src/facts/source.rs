//! One kind of look-up: with a credential, connections, room, deadline and bounds of its own.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Semaphore;

use crate::client::{ClientError, read_bounded};
use crate::config::facts::Lookup;
use crate::config::{self, UpstreamAuth};
use crate::metrics::Metrics;
use crate::page::relative_to;
use crate::stages::enter::Durable;
use crate::upstream::{SetupError, Upstream, UpstreamRequest, is_fhir_json};

/// Looks up one kind of fact.
#[derive(Debug)]
pub(super) struct Source {
    kind: &'static str,
    upstream: Upstream,
    room: Semaphore,
    pub(super) rules: Lookup,
    metrics: Metrics,
    /// Whether what is found depends on whose token is shown.
    pub(super) by_caller: bool,
}

/// Why nothing was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The deadline passed, waiting for room included.
    TimedOut,
    /// The server could not be reached.
    Unreachable,
    /// It answered something other than 200.
    Status,
    /// What it answered is not what was asked for.
    Body,
    /// It answered more than is read.
    Limit,
}

impl Failure {
    /// The word in metrics and in the officer's text.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::Status => "status",
            Self::Body => "body",
            Self::Limit => "limit",
        }
    }

    fn of(error: &ClientError) -> Self {
        match error {
            ClientError::TimedOut(_) => Self::TimedOut,
            ClientError::TooLarge(_) => Self::Limit,
            ClientError::Status(_) => Self::Status,
            ClientError::Broken(_) => Self::Body,
            ClientError::Unreachable(_)
            | ClientError::Roots(..)
            | ClientError::Identity(..)
            | ClientError::Credential(_) => Self::Unreachable,
        }
    }
}

impl Source {
    /// With the credential that `rules` name.
    pub(super) fn new(
        kind: &'static str,
        rules: &Lookup,
        upstream: &config::Upstream,
        connect_timeout: Duration,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let auth = match &rules.identity {
            None => upstream.auth.clone(),
            Some(name) => upstream
                .identities
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, auth)| auth.clone())
                .ok_or_else(|| SetupError::Credential(name.clone()))?,
        };
        let by_caller = matches!(auth, UpstreamAuth::CallerToken);
        let own = config::Upstream { auth, ..upstream.clone() };
        Ok(Self {
            kind,
            upstream: Upstream::new(&own, connect_timeout)?,
            room: Semaphore::new(rules.concurrency_max),
            rules: rules.clone(),
            metrics: metrics.clone(),
            by_caller,
        })
    }

    /// Asks for `path` and the pages behind it; `read` takes each in and gives the server's link to the next one.
    /// Nothing goes out but under a durable log entry. `token` goes along only where the tenant shows the caller's own.
    pub(super) async fn pages(
        &self,
        _: Durable,
        path: String,
        token: &str,
        read: impl FnMut(&Bytes) -> Result<Option<String>, Failure>,
    ) -> Result<(), Failure> {
        let asked = tokio::time::timeout(self.rules.deadline, self.ask(path, token, read)).await;
        let found = asked.unwrap_or(Err(Failure::TimedOut));
        self.metrics.looked_up(self.kind, found.err().map_or("answered", Failure::name));
        found
    }

    async fn ask(
        &self,
        mut path: String,
        token: &str,
        mut read: impl FnMut(&Bytes) -> Result<Option<String>, Failure>,
    ) -> Result<(), Failure> {
        let _place = self.room.acquire().await.map_err(|_| Failure::Unreachable)?;
        let mut left = self.rules.response_bytes_max;
        for _ in 0..self.rules.pages_max {
            let request = UpstreamRequest::get(path);
            let sent = self.upstream.send(&request, token, self.rules.deadline).await;
            let response = sent.map_err(|e| Failure::of(&e))?;
            if response.status() != StatusCode::OK {
                return Err(Failure::Status);
            }
            if !is_fhir_json(&response) {
                return Err(Failure::Body);
            }
            let body = read_bounded(response.into_body(), left).await.map_err(|e| Failure::of(&e))?;
            left -= body.len();
            let Some(next) = read(&body)? else { return Ok(()) };
            path = relative_to(self.upstream.base_url(), &next).ok_or(Failure::Body)?.to_owned();
        }
        Err(Failure::Limit)
    }
}
