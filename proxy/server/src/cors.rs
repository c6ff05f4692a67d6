//! Cross-origin requests of browser apps: configured origins only, to the letter.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use crate::config::Cors;

const EXPOSED: &str = "Location, ETag, Last-Modified, WWW-Authenticate, Retry-After, X-Request-Id";
const ALLOWED_HEADERS: &str = "Accept, Authorization, Content-Type, If-Match, Prefer, X-Request-Id";
const ALLOWED_METHODS: &str = "GET, POST, PUT";

fn origin<'a>(cors: &Cors, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    cors.origins.iter().any(|o| o.as_bytes() == origin.as_bytes()).then_some(origin)
}

/// The answer to a preflight, or `None` when the request is not one. It carries no credential and says nothing about
/// any record; an origin that is not configured gets no permission.
pub fn preflight(cors: &Cors, method: &Method, headers: &HeaderMap) -> Option<(StatusCode, HeaderMap)> {
    let is_preflight = method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !is_preflight {
        return None;
    }
    let mut answer = HeaderMap::new();
    answer.insert(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin(cors, headers) else { return Some((StatusCode::FORBIDDEN, answer)) };
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS));
    let mut allowed = ALLOWED_HEADERS.to_owned();
    for name in &cors.headers {
        allowed = format!("{allowed}, {name}");
    }
    if let Ok(allowed) = HeaderValue::from_str(&allowed) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some((StatusCode::NO_CONTENT, answer))
}

/// Adds what lets the page of a configured origin read the answer.
pub fn annotate(cors: &Cors, request: &HeaderMap, answer: &mut HeaderMap) {
    if cors.origins.is_empty() {
        return;
    }
    answer.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = origin(cors, request) {
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(origin: &str) -> (StatusCode, HeaderMap) {
        let cors = Cors {
            origins: vec!["https://app.example.org".into()],
            headers: vec!["x-purpose-of-use".into()],
        };
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers.insert(header::ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("GET"));
        preflight(&cors, &Method::OPTIONS, &headers).unwrap()
    }

    #[test]
    fn a_configured_origin_may_call_and_others_may_not() {
        let (status, headers) = ask("https://app.example.org");
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://app.example.org");
        let allowed = headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
        assert!(allowed.contains("Authorization") && allowed.ends_with(", x-purpose-of-use"), "{allowed}");
        for other in ["https://app.example.org.evil.org", "http://app.example.org", "null"] {
            let (status, headers) = ask(other);
            assert_eq!(status, StatusCode::FORBIDDEN);
            assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }

    #[test]
    fn an_ordinary_options_request_is_no_preflight() {
        assert!(preflight(&Cors::default(), &Method::OPTIONS, &HeaderMap::new()).is_none());
    }
}
