//! A gzip body undone as it comes: in small steps, never larger than deflate allows for long, and faulty when it breaks off.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::write::GzDecoder;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};

/// A body as it came, or as it was before it was compressed. Whoever reads it bounds what comes out; what comes out
/// of one step is small.
#[derive(Debug)]
pub struct Inflated<B> {
    inner: B,
    gunzip: Option<Gunzip>,
}

/// Why a body cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// Typically: the connection broke.
    #[error("{0}")]
    Body(String),
    /// The gzip stream is damaged, ends too early or is followed by something.
    #[error("the gzip coding is not valid: {0}")]
    Gzip(String),
    /// It inflates as no honest text does.
    #[error("the gzip coding holds more than {RATIO_MAX} times its own size")]
    Dense,
}

/// Bytes that one compressed byte may stand for on average. FHIR comes to 40 at most, deflate could have 1032.
const RATIO_MAX: u64 = 250;

/// Bodies up to this size may be as dense as they like.
const DENSE_BYTES: u64 = 1 << 20;

/// Compressed bytes that are undone in one step, which bounds what comes of them to a quarter of a megabyte.
const STEP_BYTES: usize = 256;

/// What is handed on at once, where there is as much.
const GIVEN_BYTES: usize = 16 << 10;

#[derive(Debug)]
struct Gunzip {
    /// `None` once the stream has ended.
    decoder: Option<GzDecoder<Vec<u8>>>,
    pending: Bytes,
    taken: u64,
    given: u64,
}

impl<B> Inflated<B> {
    /// A body without a coding.
    pub fn plain(inner: B) -> Self {
        Self { inner, gunzip: None }
    }

    /// A body under `Content-Encoding: gzip`.
    pub fn gzip(inner: B) -> Self {
        let decoder = Some(GzDecoder::new(Vec::new()));
        Self { inner, gunzip: Some(Gunzip { decoder, pending: Bytes::new(), taken: 0, given: 0 }) }
    }
}

/// The codings of a message. `None` where they are not known, or more than one.
pub fn is_gzip(headers: &HeaderMap) -> Option<bool> {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    match (values.next().map(|v| v.as_bytes().to_ascii_lowercase()), values.next()) {
        (None, _) => Some(false),
        (Some(coding), None) if coding == b"identity" => Some(false),
        (Some(coding), None) if coding == b"gzip" || coding == b"x-gzip" => Some(true),
        _ => None,
    }
}

impl Gunzip {
    /// Undoes a part of what is pending; gives what came of it.
    fn step(&mut self) -> Result<Option<Bytes>, InflateError> {
        let fault = |e: std::io::Error| InflateError::Gzip(e.to_string());
        let decoder = self.decoder.as_mut().ok_or_else(|| InflateError::Gzip("it has ended".into()))?;
        let part = &self.pending[..self.pending.len().min(STEP_BYTES)];
        let taken = decoder.write(part).map_err(fault)?;
        if taken == 0 {
            return Err(InflateError::Gzip("something follows its end".into()));
        }
        self.taken += taken as u64;
        self.pending = self.pending.slice(taken..);
        // Gathered until it is worth handing on.
        if decoder.get_ref().len() < GIVEN_BYTES && !self.pending.is_empty() {
            return Ok(None);
        }
        let given = std::mem::take(decoder.get_mut());
        self.count(given)
    }

    /// After the last compressed byte: checks that the stream is whole.
    fn end(&mut self) -> Result<Option<Bytes>, InflateError> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(None) };
        // Some servers name a coding for bodies that are empty.
        if self.taken == 0 {
            return Ok(None);
        }
        decoder.try_finish().map_err(|e| InflateError::Gzip(e.to_string()))?;
        let rest = std::mem::take(decoder.get_mut());
        self.count(rest)
    }

    fn count(&mut self, given: Vec<u8>) -> Result<Option<Bytes>, InflateError> {
        self.given += given.len() as u64;
        if self.given > DENSE_BYTES && self.given > self.taken.saturating_mul(RATIO_MAX) {
            return Err(InflateError::Dense);
        }
        Ok(Some(given).filter(|g| !g.is_empty()).map(Bytes::from))
    }
}

impl<B> Body for Inflated<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = InflateError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InflateError>>> {
        let this = self.get_mut();
        loop {
            if let Some(gunzip) = this.gunzip.as_mut().filter(|g| !g.pending.is_empty()) {
                match gunzip.step() {
                    Ok(Some(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                    Ok(None) => continue,
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame,
            };
            match (frame, &mut this.gunzip) {
                (Some(Err(error)), _) => {
                    return Poll::Ready(Some(Err(InflateError::Body(error.to_string()))));
                }
                (Some(Ok(frame)), None) => return Poll::Ready(Some(Ok(frame))),
                // Trailers say nothing that is read.
                (Some(Ok(frame)), Some(gunzip)) => gunzip.pending = frame.into_data().unwrap_or_default(),
                (None, None) => return Poll::Ready(None),
                (None, Some(gunzip)) => {
                    return Poll::Ready(gunzip.end().map(|rest| rest.map(Frame::data)).transpose());
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.gunzip {
            None => self.inner.is_end_stream(),
            Some(gunzip) => gunzip.decoder.is_none() || gunzip.taken == 0 && self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.gunzip {
            None => self.inner.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{ClientError, read_bounded};
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    /// A body in pieces.
    struct Pieces(Vec<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready((!self.0.is_empty()).then(|| Ok(Frame::data(self.0.remove(0)))))
        }
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn read(coded: &[u8], piece: usize, bytes_max: usize) -> Result<Bytes, ClientError> {
        let pieces = coded.chunks(piece.max(1)).map(Bytes::copy_from_slice).collect();
        let body = Inflated::gzip(Pieces(pieces));
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(read_bounded(body, bytes_max))
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back_however_it_is_cut(text in prop::collection::vec(any::<u8>(), 0..3_000), times in 1usize..5, piece in 1usize..600) {
            let text = text.repeat(times);
            prop_assert_eq!(read(&gzip(&text), piece, 1 << 20).unwrap(), text);
        }

        #[test]
        fn a_damaged_stream_is_never_taken_for_a_whole_one(text in prop::collection::vec(any::<u8>(), 1..300), place: usize, bit in 0u8..8) {
            let mut coded = gzip(&text);
            // The header's time, flags for the operating system and the like change nothing.
            let place = 10 + place % (coded.len() - 10);
            coded[place] ^= 1 << bit;
            if let Ok(read) = read(&coded, 64, 1 << 20) {
                prop_assert_eq!(read, text);
            }
        }
    }

    #[test]
    fn a_stream_cut_anywhere_is_a_fault() {
        let coded = gzip(br#"{"resourceType":"Patient","id":"p1","active":true}"#);
        for end in 1..coded.len() {
            assert!(matches!(read(&coded[..end], 7, 1 << 20), Err(ClientError::Broken(_))), "{end}");
        }
        assert!(read(&coded, 7, 1 << 20).is_ok());
        assert_eq!(read(b"", 1, 1 << 20).unwrap(), "");
    }

    #[test]
    fn what_follows_the_end_is_a_fault() {
        for more in [&b"x"[..], &gzip(b"second")] {
            let coded = [gzip(b"first"), more.to_vec()].concat();
            assert!(matches!(read(&coded, 1_000, 1 << 20), Err(ClientError::Broken(_))));
        }
    }

    #[test]
    fn a_bomb_is_not_undone() {
        let bomb = gzip(&vec![b' '; 64 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert!(
            matches!(read(&bomb, 16 << 10, usize::MAX), Err(ClientError::Broken(what)) if what.contains("250"))
        );
        // The reader's own bound is met first where it is the smaller one.
        assert!(matches!(read(&bomb, 16 << 10, 100 << 10), Err(ClientError::TooLarge(_))));
    }

    #[test]
    fn one_step_gives_little() {
        let mut gunzip = Inflated::gzip(()).gunzip.unwrap();
        gunzip.pending = gzip(&vec![b' '; 900 << 10]).into();
        let mut given = 0;
        while !gunzip.pending.is_empty() {
            let bytes = gunzip.step().unwrap().unwrap_or_default();
            assert!(bytes.len() <= 512 << 10, "{}", bytes.len());
            given += bytes.len();
        }
        given += gunzip.end().unwrap().unwrap_or_default().len();
        assert_eq!(given, 900 << 10);
    }
}
