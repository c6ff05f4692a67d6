//! A small client for the tour: one request, its whole answer.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use crate::cli::Failure;
use crate::client::{Client, read_bounded};

/// One answer.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Reply {
    /// The body as JSON; null where it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// What the OperationOutcome says.
    pub(super) fn says(&self) -> String {
        let json = self.json();
        let issue = &json["issue"][0];
        issue["diagnostics"].as_str().unwrap_or_default().to_owned()
    }
}

const ANSWER_BYTES_MAX: usize = 64 << 20;
const TIMEOUT: Duration = Duration::from_secs(60);

/// Asks whatever is to be asked in the demo.
#[derive(Debug)]
pub(super) struct Asker {
    client: Client,
}

impl Asker {
    pub(super) fn new() -> Result<Self, Failure> {
        Ok(Self { client: Client::new(None, Duration::from_secs(5))? })
    }

    pub(super) async fn get(&self, url: &str, token: Option<&str>) -> Result<Reply, Failure> {
        self.send(Method::GET, url, token, &[]).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        url: &str,
        token: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Result<Reply, Failure> {
        let mut request =
            Request::builder().method(method).uri(url).header(header::ACCEPT, "application/fhir+json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::<Bytes>::default()).map_err(Failure::new)?;
        let response =
            self.client.send(request, TIMEOUT).await.map_err(|e| Failure::new(format!("{url}: {e}")))?;
        let (head, body) = response.into_parts();
        let body =
            read_bounded(body, ANSWER_BYTES_MAX).await.map_err(|e| Failure::new(format!("{url}: {e}")))?;
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}
