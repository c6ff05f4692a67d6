//! The body of every answer: whole, or a stream whose end is only reached when all of it was judged and logged.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::deflate::Gzip;

/// What goes out. A stream that ends by an error makes hyper break the connection off (HTTP/1.1: no final chunk;
/// HTTP/2: RST_STREAM), so that a cut answer never looks complete.
pub struct OutBody {
    source: Source,
    /// Held until the last byte is out or the client is gone: a place among the requests under way.
    rider: Option<Box<dyn Send>>,
}

#[derive(Debug)]
enum Source {
    /// Known whole.
    Whole(Option<Bytes>),
    /// Still coming; `None` on the channel without `End` before is a fault. Under gzip, the end is a piece of its own.
    Stream { pieces: mpsc::Receiver<Piece>, ended: bool, gzip: Option<Box<Gzip>> },
}

impl std::fmt::Debug for OutBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutBody").field("riding", &self.rider.is_some()).finish_non_exhaustive()
    }
}

/// One piece of a streamed answer.
#[derive(Debug)]
pub enum Piece {
    /// Shielded bytes, already named in the log.
    Data(Bytes),
    /// All was sent and the outcome is durable.
    End,
}

/// The stream was cut; the reason stands in the log.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut off")]
pub struct Cut;

/// Why a body was not gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ungathered {
    /// The stream was cut.
    Cut,
    /// There was more of it than fits.
    TooLarge,
}

impl OutBody {
    /// A body known whole.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self { source: Source::Whole(Some(bytes.into())), rider: None }
    }

    /// A body that is still coming.
    pub fn stream(pieces: mpsc::Receiver<Piece>) -> Self {
        Self { source: Source::Stream { pieces, ended: false, gzip: None }, rider: None }
    }

    /// The same under gzip, or as it was where that cannot be done.
    pub(crate) fn gzip(self) -> Result<Self, Self> {
        let source = match self.source {
            Source::Whole(Some(bytes)) => {
                let mut gzip = Gzip::new();
                match gzip.window(&bytes).and_then(|start| Ok([start, gzip.end()?].concat())) {
                    Ok(coded) => Source::Whole(Some(coded.into())),
                    Err(Cut) => {
                        return Err(Self { source: Source::Whole(Some(bytes)), rider: self.rider });
                    }
                }
            }
            Source::Stream { pieces, ended: false, gzip: None } => {
                Source::Stream { pieces, ended: false, gzip: Some(Box::new(Gzip::new())) }
            }
            source => return Err(Self { source, rider: self.rider }),
        };
        Ok(Self { source, rider: self.rider })
    }

    /// The whole body in memory, where it is no longer than `limit` bytes.
    pub async fn gather(mut self, limit: usize) -> Result<Bytes, Ungathered> {
        let mut all = Vec::new();
        while let Some(frame) = self.frame().await {
            let Ok(data) = frame.map_err(|Cut| Ungathered::Cut)?.into_data() else { continue };
            if all.len() + data.len() > limit {
                return Err(Ungathered::TooLarge);
            }
            if all.is_empty() && self.is_end_stream() {
                return Ok(data);
            }
            all.extend_from_slice(&data);
        }
        Ok(all.into())
    }

    /// For HEAD: a body without bytes. What would still come is taken in and let go, so that the request is carried out
    /// and entered as it would have been. Gives the length, where it is known.
    pub fn silence(mut self) -> (Self, Option<u64>) {
        let length = self.size_hint().exact().filter(|_| matches!(self.source, Source::Whole(_)));
        if length.is_none() {
            tokio::spawn(async move { while let Some(Ok(_)) = self.frame().await {} });
            return (Self::whole(Bytes::new()), None);
        }
        self.source = Source::Whole(None);
        (self, length)
    }

    /// Keeps `rider` alive as long as the body is.
    #[must_use]
    pub fn with(mut self, rider: impl Send + 'static) -> Self {
        let others = self.rider.take();
        self.rider = Some(Box::new((others, rider)));
        self
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.get_mut().source {
            Source::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Source::Stream { ended: true, .. } => Poll::Ready(None),
            Source::Stream { pieces, ended, gzip } => match pieces.poll_recv(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Piece::Data(bytes))) => {
                    let coded = match gzip {
                        Some(gzip) => gzip.window(&bytes),
                        None => Ok(bytes),
                    };
                    *ended = coded.is_err();
                    Poll::Ready(Some(coded.map(Frame::data)))
                }
                Poll::Ready(Some(Piece::End)) => {
                    *ended = true;
                    Poll::Ready(gzip.take().map(|gzip| gzip.end().map(Frame::data)))
                }
                Poll::Ready(None) => {
                    *ended = true;
                    Poll::Ready(Some(Err(Cut)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Source::Stream { ended, .. } => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Source::Stream { .. } => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_without_its_end_mark_ends_in_an_error() {
        let (send, pieces) = mpsc::channel(2);
        send.send(Piece::Data(Bytes::from_static(b"{"))).await.unwrap();
        drop(send);
        let mut body = OutBody::stream(pieces);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_body_is_gathered_up_to_its_limit_and_never_without_its_end() {
        let stream = |end: bool| {
            let (send, pieces) = mpsc::channel(4);
            for piece in [Piece::Data("ab".into()), Piece::Data("cd".into())] {
                send.try_send(piece).unwrap();
            }
            if end {
                send.try_send(Piece::End).unwrap();
            }
            OutBody::stream(pieces)
        };
        assert_eq!(stream(true).gather(4).await, Ok(Bytes::from_static(b"abcd")));
        assert_eq!(stream(true).gather(3).await, Err(Ungathered::TooLarge));
        assert_eq!(stream(false).gather(4).await, Err(Ungathered::Cut));
        assert_eq!(OutBody::whole("ab").gather(2).await, Ok(Bytes::from_static(b"ab")));
        assert_eq!(OutBody::whole("ab").gather(1).await, Err(Ungathered::TooLarge));
    }

    #[tokio::test]
    async fn what_rides_on_a_body_is_let_go_with_it() {
        let place = std::sync::Arc::new(());
        let body =
            OutBody::whole("x").with(std::sync::Arc::clone(&place)).with(std::sync::Arc::clone(&place));
        assert_eq!(std::sync::Arc::strong_count(&place), 3, "what comes second does not throw the first off");
        drop(body);
        assert_eq!(std::sync::Arc::strong_count(&place), 1);
    }

    #[tokio::test]
    async fn a_stream_with_its_end_mark_ends_well() {
        let (send, pieces) = mpsc::channel(2);
        send.send(Piece::End).await.unwrap();
        let mut body = OutBody::stream(pieces);
        assert!(body.frame().await.is_none());
    }
}
