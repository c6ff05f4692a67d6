//! Where a bulk export of the upstream lies: under its base, or at an origin that the configuration names.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{Method, Request, Response, Uri};
use http_body_util::Full;

use super::{Upstream, UpstreamBody, unusable};
use crate::client::ClientError;
use crate::inflate::Inflated;

/// An address of an export that may be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    uri: String,
    /// At the upstream's own origin, which is shown its credential.
    own: bool,
}

/// A file may lie elsewhere than its address says (a store that hands out signed addresses), but not twice removed.
const REDIRECTS_MAX: usize = 2;

impl Upstream {
    /// Where a link of an export leads, if it may be followed: under the base URL, or at an origin of `export_hosts`.
    /// Links are kept relative to the base where they are under it.
    pub(crate) fn place(&self, link: &str) -> Option<Place> {
        let relative = link.starts_with('/') && !link.starts_with("//");
        let uri = if relative { format!("{}{link}", self.base_url) } else { link.to_owned() };
        let odd = uri.contains(['#', '\\', '@']) || uri.contains("/../") || uri.chars().any(char::is_control);
        if odd || uri.len() > 4_096 || uri.parse::<Uri>().ok()?.host().is_none() {
            return None;
        }
        let under = |base: &str| uri.strip_prefix(base).is_some_and(|rest| rest.starts_with(['/', '?']));
        let own = origin(&uri)? == origin(&self.base_url)?;
        let known = under(&self.base_url) || self.export_hosts.iter().any(|host| under(host));
        known.then_some(Place { uri, own })
    }

    /// The form in which a link that may be followed is kept.
    pub(crate) fn kept<'a>(&self, link: &'a str) -> Option<&'a str> {
        self.place(link)?;
        let relative = link.strip_prefix(&self.base_url).filter(|rest| rest.starts_with('/'));
        Some(relative.unwrap_or(link))
    }

    /// Asks for an export to be made.
    pub(crate) async fn kick_off(
        &self,
        path_and_query: &str,
        body: Option<Bytes>,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Response<UpstreamBody>, ClientError> {
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{path_and_query}", self.base_url))
            .header(ACCEPT, "application/fhir+json")
            .header(ACCEPT_ENCODING, "identity")
            // Unknown parameters must fail rather than be dropped, which would widen what is exported.
            .header("prefer", "respond-async, handling=strict");
        if body.is_some() {
            builder = builder.header(CONTENT_TYPE, "application/fhir+json; charset=utf-8");
        }
        let request = builder.body(Full::new(body.unwrap_or_default())).map_err(unusable)?;
        Ok(self.show_and_send(request, caller_token, timeout).await?.map(Inflated::plain))
    }

    /// Asks a place of an export. A redirect is followed for files alone, and only to a place that may be asked.
    pub(crate) async fn ask_place(
        &self,
        method: Method,
        place: &Place,
        accept: &'static str,
        caller_token: &str,
        timeout: Duration,
    ) -> Result<Response<UpstreamBody>, ClientError> {
        let mut place = place.clone();
        for _ in 0..=REDIRECTS_MAX {
            let builder = Request::builder()
                .method(method.clone())
                .uri(&place.uri)
                .header(ACCEPT, accept)
                .header(ACCEPT_ENCODING, "identity");
            let request = builder.body(Full::default()).map_err(unusable)?;
            let response = match place.own {
                true => self.show_and_send(request, caller_token, timeout).await?,
                false => self.client.send(request, timeout).await?,
            }
            .map(Inflated::plain);
            if !response.status().is_redirection() || accept != NDJSON {
                return Ok(response);
            }
            let next = response.headers().get(LOCATION).and_then(|v| v.to_str().ok());
            // Relative to the origin and not to the base; no store sends such.
            match next.filter(|link| !link.starts_with('/')).and_then(|link| self.place(link)) {
                Some(next) => place = next,
                None => return Ok(response),
            }
        }
        Err(ClientError::Unreachable("the file is redirected again and again".into()))
    }
}

/// The media type of the files.
pub(crate) const NDJSON: &str = "application/fhir+ndjson";

/// Scheme, host and port.
fn origin(uri: &str) -> Option<(String, String, u16)> {
    let uri: Uri = uri.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    let port = uri.port_u16().unwrap_or(usual);
    Some((scheme, uri.host()?.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Dialect, UpstreamAuth};

    fn upstream(export_hosts: &[&str]) -> Upstream {
        let config = config::Upstream {
            base_url: "https://ehr.example.org/fhir".into(),
            identities: Vec::new(),
            auth: UpstreamAuth::None,
            ca_file: None,
            identity: None,
            dialect: Dialect::Generic,
            gzip: false,
            unsearchable_identifier_systems: Vec::new(),
            export_hosts: export_hosts.iter().map(|h| (*h).to_owned()).collect(),
        };
        Upstream::new(&config, Duration::from_secs(1)).unwrap()
    }

    #[test]
    fn lv_48_a_link_of_an_export_is_followed_to_named_places_alone_and_strangers_see_no_credential() {
        let plain = upstream(&[]);
        for link in ["https://ehr.example.org/fhir/Binary/1", "https://ehr.example.org/fhir?x=1", "/Binary/1"]
        {
            assert!(plain.place(link).unwrap().own, "{link}");
        }
        for link in [
            "https://files.example.org/1",
            "https://ehr.example.org/other/1",
            "https://ehr.example.org/fhirX/1",
            "https://ehr.example.org:444/fhir/1",
            "http://ehr.example.org/fhir/1",
            "https://ehr.example.org.evil.example/fhir/1",
            "https://ehr.example.org@evil.example/fhir/1",
            "https://ehr.example.org/fhir/../admin",
            "https://ehr.example.org/fhir/1#x",
            "//evil.example/1",
            "file:///etc/passwd",
            "Binary/1",
            "",
        ] {
            assert_eq!(plain.place(link), None, "{link}");
        }
        let wide = upstream(&["https://files.example.org", "https://ehr.example.org"]);
        assert!(!wide.place("https://files.example.org/bucket/1?signature=x").unwrap().own);
        assert_eq!(wide.place("https://files.example.org.evil.example/1"), None);
        assert_eq!(wide.place("https://files.example.org:8443/1"), None);
        // Where it is named, the server's own origin outside the base is still the server itself.
        assert!(wide.place("https://ehr.example.org/BulkRequest/1").unwrap().own);
        assert_eq!(wide.kept("https://ehr.example.org/fhir/Binary/1"), Some("/Binary/1"));
        assert_eq!(wide.kept("https://files.example.org/1"), Some("https://files.example.org/1"));
        assert_eq!(wide.kept("https://evil.example/1"), None);
    }
}
