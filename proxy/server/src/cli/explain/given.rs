//! What the command line of `drape explain` names, read: the request, who asks, the records.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use drape_fhir::definitions::r4;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value};

use super::Who;
use crate::cli::Failure;
use crate::cli::source::Sourced;
use crate::clock::Clock;

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// Method and target of a request line.
pub(super) fn request(line: &str) -> Result<(Method, String), Failure> {
    let help = "write a method and what follows the base URL, as in \"GET /Observation?patient=p1\"";
    let fault = |what: String| Failure::new(format!("{what}\n  help: {help}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let (method, target) = match words.as_slice() {
        [target] => (Method::GET, *target),
        [method, target] | [method, target, "HTTP/1.1" | "HTTP/2"] => {
            let known = METHODS.iter().find(|m| m.as_str().eq_ignore_ascii_case(method));
            (
                known.cloned().ok_or_else(|| fault(format!("`{method}` is not a method that FHIR has")))?,
                *target,
            )
        }
        [] => return Err(fault("the request is empty".to_owned())),
        _ => return Err(fault(format!("`{line}` is not a request line; a space in it is written `%20`"))),
    };
    // A typing error in a type would be explained as a refusal, which helps nobody.
    let path = target.split('?').next().unwrap_or_default().trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    let named = !first.is_empty() && !target.contains("://") && !first.starts_with(['_', '$', '.']);
    if named && first != "metadata" && !r4().is_resource(first) {
        let near = nearest(first);
        return Err(Failure::new(format!(
            "`{first}` is no resource type of FHIR R4\n  help: did you mean `{near}`?"
        )));
    }
    Ok((method, target.to_owned()))
}

/// The resource type whose name is nearest.
fn nearest(name: &str) -> &'static str {
    let lower = name.to_ascii_lowercase();
    r4().resource_types().min_by_key(|t| distance(&lower, &t.to_ascii_lowercase())).unwrap_or("Patient")
}

/// How many letters must be changed, added or taken away (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.bytes().enumerate() {
            let changed = before + usize::from(x != y);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

/// The claims of whoever asks.
pub(super) fn claims(who: &Who, sourced: &Sourced) -> Result<Map<String, Value>, Failure> {
    if let Some(name) = &who.persona {
        let path = sourced.files.path("personas.yaml");
        return Ok(sourced.personas.find(&path, name).map_err(Failure::new)?.claims.clone());
    }
    if let Some(path) = &who.claims {
        let help = "write the claims of a token as one object: `{sub: …, roles: […], purpose_of_use: TREAT}`";
        let text = text(path)?;
        return serde_saphyr::from_str(&text)
            .map_err(|e| Failure::new(format!("`{}` holds no claims: {e}\n  help: {help}", path.display())));
    }
    let path = who.token.as_deref().unwrap_or(Path::new(""));
    let text = text(path)?;
    let token = text.trim();
    let token = token.strip_prefix("Authorization:").unwrap_or(token).trim();
    let token = token.strip_prefix("Bearer").unwrap_or(token).trim();
    let payload = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or_else(|| {
        let help = "a JWT is three parts with dots between them; of an opaque token write the claims and use `--claims`";
        Failure::new(format!("`{}` holds no JWT whose claims can be read\n  help: {help}", path.display()))
    })
}

/// Milliseconds since the epoch.
pub(super) fn instant(at: Option<&str>, clock: &Clock) -> Result<u64, Failure> {
    let Some(at) = at else { return Ok(clock.now_ms()) };
    let instant = jiff::Timestamp::from_str(at).map_err(|e| {
        let help = "write date, time and offset, as in `2026-11-25T10:00:00Z` or `2026-11-25T10:00:00-05:00`";
        Failure::new(format!("`{at}` is no moment: {e}\n  help: {help}"))
    })?;
    u64::try_from(instant.as_millisecond())
        .map_err(|_| Failure::new(format!("`{at}` is before 1970\n  help: name a later time")))
}

/// The headers, with the content type that a body has where none is named.
pub(super) fn headers(given: &[String], method: &Method, has_body: bool) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for line in given {
        let pair = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_str(name.trim()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        let (name, value) = pair.ok_or_else(|| {
            Failure::new(format!("`{line}` is no header\n  help: write `--header \"If-Match: W/\\\"1\\\"\"`"))
        })?;
        headers.append(name, value);
    }
    if has_body && !headers.contains_key(header::CONTENT_TYPE) {
        let media =
            if *method == Method::PATCH { "application/json-patch+json" } else { "application/fhir+json" };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    Ok(headers)
}

/// The records that the server holds, and how they are called.
pub(super) fn records(files: &[PathBuf], sourced: &Sourced) -> Result<(Vec<Value>, String), Failure> {
    if files.is_empty() {
        const EXAMPLES: &str = "examples.json";
        let shipped = || drape_policy::shipped::find("hospital").and_then(|set| set.file(EXAMPLES));
        let (path, text) = match sourced.files.read(EXAMPLES).map_err(Failure::new)? {
            Some(text) => (sourced.files.path(EXAMPLES), text),
            None => ("hospital/examples.json".to_owned(), shipped().unwrap_or_default().to_owned()),
        };
        return Ok((resources(&path, &text)?, format!("the made-up records of {path}")));
    }
    let mut all = Vec::new();
    for path in files {
        all.extend(resources(&path.display().to_string(), &text(path)?)?);
    }
    let names: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    Ok((all, names.join(", ")))
}

/// The resources of a file: one, a list, those in a Bundle, or one a line.
fn resources(path: &str, text: &str) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    let whole: Result<Value, _> = serde_json::from_str(text);
    let documents = match whole {
        Ok(document) => vec![document],
        Err(whole) => {
            let lines: Vec<(usize, &str)> =
                text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).collect();
            // What is no document may still be one a line; else what is wrong with the document is told.
            if lines.first().is_none_or(|(_, line)| serde_json::from_str::<Value>(line).is_err()) {
                let help = "records are FHIR JSON: a resource, a Bundle, or one resource a line";
                return Err(Failure::new(format!("`{path}` is not JSON: {whole}\n  help: {help}")));
            }
            let mut documents = Vec::new();
            for (number, line) in lines {
                documents.push(serde_json::from_str(line).map_err(|e| {
                    let number = number + 1;
                    Failure::new(format!(
                        "`{path}`, line {number}, is not JSON: {e}\n  help: write one resource a line"
                    ))
                })?);
            }
            documents
        }
    };
    for document in documents {
        match document {
            Value::Array(list) => found.extend(list),
            Value::Object(ref members) if document["resourceType"] == "Bundle" => {
                let entries = members.get("entry").and_then(Value::as_array);
                found
                    .extend(entries.into_iter().flatten().filter_map(|entry| entry.get("resource").cloned()));
            }
            one => found.push(one),
        }
    }
    Ok(found)
}

/// A file that was named.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::new(format!("cannot read `{}`: {e}", path.display())))
}

fn text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(file(path)?).map_err(|_| Failure::new(format!("`{}` is not text", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_read_as_people_write_it() {
        for (line, method, target) in [
            ("GET /Patient/p1", "GET", "/Patient/p1"),
            ("/Patient/p1", "GET", "/Patient/p1"),
            ("Patient?name=x", "GET", "Patient?name=x"),
            ("delete /Patient/1 HTTP/1.1", "DELETE", "/Patient/1"),
            ("POST /", "POST", "/"),
            ("GET /_history", "GET", "/_history"),
            ("GET https://x.example/fhir/Patient/1", "GET", "https://x.example/fhir/Patient/1"),
        ] {
            let Ok((found, rest)) = request(line) else { panic!("{line}") };
            assert_eq!((found.as_str(), rest.as_str()), (method, target));
        }
        for (line, says) in [
            ("FETCH /Patient", "`FETCH` is not a method"),
            ("", "empty"),
            ("GET /Patient ? x y", "not a request line"),
            ("GET /Patent/1", "did you mean `Patient`?"),
            ("GET /observations", "did you mean `Observation`?"),
        ] {
            let Err(failure) = request(line) else { panic!("{line}") };
            assert!(failure.text.contains(says), "{line}: {}", failure.text);
        }
    }

    #[test]
    fn records_are_a_resource_a_list_a_bundle_or_lines() {
        let ids = |text: &str| -> Vec<String> {
            let Ok(found) = resources("f", text) else { panic!("{text}") };
            found.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(ids(r#"{"resourceType":"Patient","id":"a"}"#), ["a"]);
        assert_eq!(ids(r#"[{"id":"a"},{"id":"b"}]"#), ["a", "b"]);
        assert_eq!(ids(r#"{"resourceType":"Bundle","entry":[{"resource":{"id":"a"}},{}]}"#), ["a"]);
        assert_eq!(ids("{\"id\":\"a\"}\n\n{\"id\":\"b\"}\n"), ["a", "b"]);
        for (text, says) in [
            ("{\n\"id\": }", "is not JSON: expected value at line 2"),
            ("{\"id\":\"a\"}\n{", "line 2, is not JSON"),
        ] {
            let Err(failure) = resources("f", text) else { panic!("{text}") };
            assert!(failure.text.contains(says), "{}", failure.text);
        }
    }
}
