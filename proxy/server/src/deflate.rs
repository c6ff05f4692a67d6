//! Answers under gzip, for who accepts it where the configuration allows it: the size of what is compressed tells more
//! of it than its length does (LV-43), so that it is off unless it is asked for.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::body::{Cut, OutBody};

/// Shorter answers are no shorter for it.
const LEAST_BYTES: u64 = 1 << 10;

/// Compresses as it goes: each window is flushed, so that it leaves when it would have left.
#[derive(Debug)]
pub struct Gzip(GzEncoder<Vec<u8>>);

impl Gzip {
    /// At the start of a body.
    pub(crate) fn new() -> Self {
        Self(GzEncoder::new(Vec::new(), Compression::fast()))
    }

    /// All that a reader needs to have `window` now.
    pub(crate) fn window(&mut self, window: &[u8]) -> Result<Bytes, Cut> {
        self.0.write_all(window).and_then(|()| self.0.flush()).map_err(|_| Cut)?;
        Ok(std::mem::take(self.0.get_mut()).into())
    }

    /// The end; without it no reader takes the body for whole.
    pub(crate) fn end(self) -> Result<Bytes, Cut> {
        self.0.finish().map(Bytes::from).map_err(|_| Cut)
    }
}

/// Puts an answer under gzip if the caller accepts that and it is worth it.
pub fn encode(request: &HeaderMap, answer: Response<OutBody>) -> Response<OutBody> {
    let (mut head, body) = answer.into_parts();
    head.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    let exact = hyper::body::Body::size_hint(&body).exact();
    let worth_it = exact.is_none_or(|length| length >= LEAST_BYTES)
        && head.status != StatusCode::NO_CONTENT
        && head.status != StatusCode::NOT_MODIFIED
        && !head.headers.contains_key(header::CONTENT_ENCODING);
    if !worth_it || !accepts(request) {
        return Response::from_parts(head, body);
    }
    let body = match body.gzip() {
        Ok(body) => body,
        Err(body) => return Response::from_parts(head, body),
    };
    head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(header::CONTENT_LENGTH);
    if let Some(length) = hyper::body::Body::size_hint(&body).exact() {
        head.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    weaken(&mut head.headers);
    Response::from_parts(head, body)
}

/// Makes an ETag weak: other bytes than those that a strong one was given for are not the same representation.
pub(crate) fn weaken(headers: &mut HeaderMap) {
    let strong = headers.get(header::ETAG).and_then(|e| e.to_str().ok()).filter(|e| e.starts_with('"'));
    if let Some(weak) = strong.and_then(|e| HeaderValue::from_str(&format!("W/{e}")).ok()) {
        headers.insert(header::ETAG, weak);
    }
}

/// Whether `Accept-Encoding` names gzip, or everything, with a weight above zero (RFC 9110 section 12.5.3).
fn accepts(request: &HeaderMap) -> bool {
    let (mut named, mut any) = (None, None);
    for value in request.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let weight = parts.find_map(|p| p.strip_prefix("q=").or_else(|| p.strip_prefix("Q=")));
            let wanted = weight.is_none_or(|w| w.parse::<f32>().is_ok_and(|w| w > 0.0 && w <= 1.0));
            match name.as_str() {
                "gzip" | "x-gzip" => named = Some(wanted),
                "*" => any = Some(wanted),
                _ => {}
            }
        }
    }
    named.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_to_who_names_it() {
        for (accept, wanted) in [
            ("gzip", true),
            ("gzip, deflate, br", true),
            ("GZIP;q=0.5", true),
            ("*", true),
            ("identity, *;q=0.1", true),
            ("", false),
            ("identity", false),
            ("br", false),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("gzip;q=x", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(accepts(&headers), wanted, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new()));
    }

    #[test]
    fn a_strong_etag_becomes_weak_and_a_weak_one_stays() {
        for (etag, weak) in [("\"1\"", "W/\"1\""), ("W/\"1\"", "W/\"1\"")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ETAG, HeaderValue::from_static(etag));
            weaken(&mut headers);
            assert_eq!(headers[header::ETAG], weak);
        }
    }
}
