//! The body of every answer: whole, or a stream whose end is only reached when all of it was judged and logged.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// What goes out. A stream that ends by an error makes hyper break the connection off (HTTP/1.1: no final chunk;
/// HTTP/2: RST_STREAM), so that a cut answer never looks complete.
#[derive(Debug)]
pub enum OutBody {
    /// Known whole.
    Whole(Option<Bytes>),
    /// Still coming; `None` on the channel without `End` before is a fault.
    Stream(mpsc::Receiver<Piece>, bool),
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

impl OutBody {
    /// A body known whole.
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b)))),
            Self::Stream(_, true) => Poll::Ready(None),
            Self::Stream(pieces, ended) => match pieces.poll_recv(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(Some(Piece::Data(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Piece::End)) => {
                    *ended = true;
                    Poll::Ready(None)
                }
                Poll::Ready(None) => {
                    *ended = true;
                    Poll::Ready(Some(Err(Cut)))
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Stream(_, ended) => *ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Stream(..) => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_stream_without_its_end_mark_ends_in_an_error() {
        let (send, pieces) = mpsc::channel(2);
        send.send(Piece::Data(Bytes::from_static(b"{"))).await.unwrap();
        drop(send);
        let mut body = OutBody::Stream(pieces, false);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_stream_with_its_end_mark_ends_well() {
        let (send, pieces) = mpsc::channel(2);
        send.send(Piece::End).await.unwrap();
        let mut body = OutBody::Stream(pieces, false);
        assert!(body.frame().await.is_none());
    }
}
