//! Bulk exports at the upstream: begun, asked about, given up, and their files fetched.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use drape_shield::Expect;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{Desk, Stream, Upstream};
use crate::client::read_bounded;
use crate::exports::{File, Job};
use crate::refusal::Refusal;
use crate::stages::Own;
use crate::stages::decide::export::Step;
use crate::upstream::{NDJSON, Place, UpstreamBody};

/// A manifest names files; even one of thousands is small.
const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// How long a caller is asked to wait where the upstream does not say.
const RETRY_AFTER_S: u64 = 10;

/// One file of the upstream's manifest.
struct Output {
    resource_type: String,
    place: Place,
    count: Option<u64>,
}

/// The files that follow one another as one.
pub(in crate::stages) struct Files {
    desk: Arc<Desk>,
    resource_type: String,
    places: VecDeque<Place>,
}

impl Files {
    /// The next one, if there is one.
    pub(in crate::stages) async fn follow(&mut self) -> Option<Result<Stream, Refusal>> {
        let place = self.places.pop_front()?;
        Some(self.desk.file(&place, &self.resource_type).await)
    }
}

impl Desk {
    pub(super) async fn export(self: &Arc<Self>, step: Step) -> Result<Upstream, Refusal> {
        match step {
            Step::Start { request, job } => self.start(request, job).await.map(Upstream::Own),
            Step::Status { place, job, types } => {
                self.status(place.as_ref(), &job, &types).await.map(Upstream::Own)
            }
            Step::Cancel { place } => self.cancel(place.as_ref()).await.map(Upstream::Own),
            Step::File { place, file } => self.files(place.as_ref(), &file).await,
        }
    }

    async fn ask_place(
        &self,
        method: Method,
        place: &Place,
        accept: &'static str,
    ) -> Result<Response<UpstreamBody>, Refusal> {
        let timeout = self.tenant.limits.upstream_timeout;
        let asked = self.tenant.upstream.ask_place(method, place, accept, &self.token, timeout).await;
        asked.map_err(|error| self.unreachable(&error))
    }

    async fn start(&self, request: Option<(String, Option<Bytes>)>, mut job: Job) -> Result<Own, Refusal> {
        let tenant = &self.tenant;
        if let Some((path, body)) = request {
            let timeout = tenant.limits.upstream_timeout;
            let begun = tenant.upstream.kick_off(&path, body, &self.token, timeout).await;
            let response = begun.map_err(|error| self.unreachable(&error))?;
            if response.status() != StatusCode::ACCEPTED {
                let status = self.check(response).await?.status();
                return Err(Refusal::upstream(format!("the upstream answers {status} to an export")));
            }
            let location = response.headers().get(header::CONTENT_LOCATION).and_then(|v| v.to_str().ok());
            let Some(location) = location.and_then(|link| tenant.upstream.kept(link)) else {
                let reason = "the export lies neither under base_url nor at one of export_hosts";
                return Err(Refusal::upstream(reason));
            };
            job.status = Some(location.to_owned());
        }
        let link = tenant.exports.seal_job(&job, self.view.caller(), tenant.clock.now_ms());
        let link = link.and_then(|link| HeaderValue::from_str(&link).ok());
        let link = link.ok_or_else(|| {
            Refusal::unavailable("forward", "the export cannot be named", "a handle could not be sealed")
        })?;
        let headers = HeaderMap::from_iter([(header::CONTENT_LOCATION, link)]);
        Ok(Own { status: StatusCode::ACCEPTED, headers, body: Bytes::new() })
    }

    async fn status(&self, place: Option<&Place>, job: &Job, types: &[String]) -> Result<Own, Refusal> {
        let Some(place) = place else {
            let now = jiff::Timestamp::from_millisecond(
                i64::try_from(self.tenant.clock.now_ms()).unwrap_or_default(),
            );
            let now = now.map_err(|e| Refusal::unavailable("forward", "there is no time", e.to_string()))?;
            return self.manifest(&now.to_string(), Vec::new(), job, types);
        };
        let response = self.ask_place(Method::GET, place, "application/json").await?;
        if response.status() == StatusCode::ACCEPTED {
            return Ok(under_way(response.headers()));
        }
        let (time, outputs) = self.read_manifest(self.check(response).await?).await?;
        self.manifest(&time, outputs, job, types)
    }

    /// What of the upstream's manifest is understood: its time, and where the files are. `deleted` and `error` are left
    /// behind, for they name records and repeat values that nobody has judged.
    async fn read_manifest(
        &self,
        response: Response<UpstreamBody>,
    ) -> Result<(String, Vec<Output>), Refusal> {
        if response.status() != StatusCode::OK {
            return Err(Refusal::upstream("the export has no manifest"));
        }
        let fault = |what: &str| Refusal::upstream(format!("the export's manifest {what}"));
        let body = read_bounded(response.into_body(), MANIFEST_BYTES_MAX).await;
        let body = body.map_err(|e| fault(&format!("cannot be read: {e}")))?;
        let theirs: Value = serde_json::from_slice(&body).map_err(|_| fault("is not JSON"))?;
        let time = theirs["transactionTime"].as_str().filter(|time| is_time(time));
        let time = time.ok_or_else(|| fault("has no transactionTime"))?;
        let list = theirs["output"].as_array().ok_or_else(|| fault("has no output"))?;
        let mut outputs = Vec::new();
        for item in list {
            let (Some(resource_type), Some(url)) = (item["type"].as_str(), item["url"].as_str()) else {
                return Err(fault("names a file without its type or address"));
            };
            let Some(place) = self.tenant.upstream.place(url) else {
                return Err(fault(
                    "names a file that lies neither under base_url nor at one of export_hosts",
                ));
            };
            let resource_type = resource_type.to_owned();
            outputs.push(Output { resource_type, place, count: item["count"].as_u64() });
        }
        Ok((time.to_owned(), outputs))
    }

    /// The manifest as the caller is told it. To whom not every record is judged alike, each type is one file, be there
    /// none of it or be it many at the upstream: the number of files would tell how many records are withheld.
    fn manifest(
        &self,
        time: &str,
        outputs: Vec<Output>,
        job: &Job,
        types: &[String],
    ) -> Result<Own, Refusal> {
        let tenant = &self.tenant;
        let now = tenant.clock.now_ms();
        let mut list = Vec::new();
        let mut add = |resource_type: &str, place: Option<usize>, count: Option<u64>| {
            let file = File { job: job.clone(), resource_type: resource_type.to_owned(), place };
            let url = tenant.exports.seal_file(&file, self.view.caller(), now).ok_or_else(|| {
                Refusal::unavailable("forward", "a file cannot be named", "a handle could not be sealed")
            })?;
            let mut item = json!({ "type": resource_type, "url": url });
            if let Some(count) = count {
                item["count"] = json!(count);
            }
            list.push(item);
            Ok(())
        };
        for resource_type in types {
            if !self.view.uniform() {
                add(resource_type, None, None)?;
                continue;
            }
            let of_type = outputs.iter().filter(|o| o.resource_type == *resource_type);
            for (place, output) in of_type.enumerate() {
                add(resource_type, Some(place), output.count)?;
            }
        }
        let asked = if job.posted { job.address.split('?').next().unwrap_or_default() } else { &job.address };
        let body = json!({
            "transactionTime": time,
            "request": format!("{}{asked}", tenant.public_base),
            "requiresAccessToken": true,
            "output": list,
            "error": [],
        });
        let mut own = Own::ok(body.to_string());
        own.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(own)
    }

    async fn cancel(&self, place: Option<&Place>) -> Result<Own, Refusal> {
        if let Some(place) = place {
            let response = self.ask_place(Method::DELETE, place, "application/json").await?;
            let ended = [StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];
            if !ended.contains(&response.status()) {
                self.check(response).await?;
                return Err(Refusal::upstream("the export cannot be given up"));
            }
        }
        Ok(Own { status: StatusCode::ACCEPTED, headers: HeaderMap::new(), body: Bytes::new() })
    }

    /// The files of one type, in the manifest's order: one of them, or all as one.
    async fn files(self: &Arc<Self>, place: Option<&Place>, file: &File) -> Result<Upstream, Refusal> {
        let mut places = VecDeque::new();
        if let Some(place) = place {
            let response = self.ask_place(Method::GET, place, "application/json").await?;
            if response.status() == StatusCode::ACCEPTED {
                return Err(Refusal::unknown("forward", "the export is not ready"));
            }
            let (_, outputs) = self.read_manifest(self.check(response).await?).await?;
            let of_type = outputs.into_iter().filter(|o| o.resource_type == file.resource_type);
            places.extend(of_type.map(|output| output.place));
        }
        if let Some(place) = file.place {
            places = places.into_iter().skip(place).take(1).collect();
            if places.is_empty() {
                return Err(Refusal::unknown("forward", "the export has no such file any more"));
            }
        }
        let resource_type = file.resource_type.clone();
        let mut files = Files { desk: Arc::clone(self), resource_type, places };
        let Some(first) = files.follow().await else {
            // In every header like a file of which nothing may be shown.
            let mut headers = headers();
            headers.insert(header::CONTENT_LENGTH, 0.into());
            return Ok(Upstream::Own(Own { status: StatusCode::OK, headers, body: Bytes::new() }));
        };
        let mut stream = first?;
        stream.files = Some(files);
        Ok(Upstream::Records(Box::new(stream)))
    }

    async fn file(self: &Arc<Self>, place: &Place, resource_type: &str) -> Result<Stream, Refusal> {
        let response = self.ask_place(Method::GET, place, NDJSON).await?;
        if response.status() != StatusCode::OK {
            let status = self.check(response).await?.status();
            return Err(Refusal::upstream(format!("the upstream answers {status} to a file")));
        }
        if !is_ndjson(response.headers()) {
            return Err(Refusal::upstream("the file is not NDJSON, or its end could not be told"));
        }
        let expect = Expect::Lines { resource_type: resource_type.to_owned() };
        Ok(self.stream(response, expect, None, StatusCode::OK, headers()))
    }
}

fn headers() -> HeaderMap {
    HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON))])
}

/// Of how far the upstream is, only a percentage is passed on, and how long to wait.
fn under_way(theirs: &HeaderMap) -> Own {
    let text = |name: &str| theirs.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let progress = percentage(text("x-progress")).unwrap_or_else(|| "in progress".to_owned());
    let wait: u64 = text("retry-after").trim().parse().unwrap_or(RETRY_AFTER_S);
    let mut headers = HeaderMap::new();
    if let Ok(progress) = HeaderValue::from_str(&progress) {
        headers.insert("x-progress", progress);
    }
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.clamp(1, 3_600)));
    Own { status: StatusCode::ACCEPTED, headers, body: Bytes::new() }
}

fn percentage(text: &str) -> Option<String> {
    let before = text.split_once('%')?.0.trim_end();
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
    let number: u8 = digits.parse().ok()?;
    (number <= 100).then(|| format!("{number}%"))
}

/// An instant, as far as its characters go.
fn is_time(text: &str) -> bool {
    (10..=40).contains(&text.len())
        && text.bytes().take(4).all(|b| b.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_digit() || b"-:TZ.+".contains(&b))
}

/// Lines, uncoded, whose end the connection tells: a file that is cut off between two lines looks whole by itself.
/// Stores of files know their bytes as bytes; what the lines hold is looked at in any case.
fn is_ndjson(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
    let media = text(header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let known = [
        NDJSON,
        "application/ndjson",
        "application/x-ndjson",
        "application/octet-stream",
        "binary/octet-stream",
    ];
    let coding = text(header::CONTENT_ENCODING);
    let ends =
        headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING);
    known.contains(&media.as_str()) && (coding.is_empty() || coding.eq_ignore_ascii_case("identity")) && ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_progress_only_a_percentage_is_passed_on() {
        for (theirs, ours) in [
            ("42%", Some("42%")),
            ("Export of Ann Lee is 7 % done", Some("7%")),
            ("100% complete", Some("100%")),
            ("Build in progress - 12 of 30", None),
            ("1234%", None),
            ("%", None),
            ("", None),
        ] {
            assert_eq!(percentage(theirs).as_deref(), ours, "{theirs}");
        }
    }

    #[test]
    fn a_file_is_taken_only_as_lines_whose_end_is_told() {
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
        };
        let length = ("content-length", "10");
        assert!(is_ndjson(&headers(&[("content-type", "application/fhir+ndjson;charset=UTF-8"), length])));
        assert!(is_ndjson(&headers(&[("content-type", NDJSON), ("transfer-encoding", "chunked")])));
        assert!(!is_ndjson(&headers(&[("content-type", NDJSON)])), "nobody would notice the cut");
        assert!(!is_ndjson(&headers(&[("content-type", NDJSON), length, ("content-encoding", "gzip")])));
        for other in ["application/fhir+json", "text/html", ""] {
            assert!(!is_ndjson(&headers(&[("content-type", other), length])), "{other}");
        }
    }
}
