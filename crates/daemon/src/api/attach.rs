//! Attaching over a WebSocket: the keeper's frames, passed through.
//!
//! Each binary message holds whole frames of [`sessile_model::wire`], in both directions; the
//! client begins with Hello, as on the keeper's own socket. At most one message is on its way in
//! each direction: a side that does not read stops the other, and costs no more than that.

use axum::extract::State;
use axum::extract::ws::{
    CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code, rejection::WebSocketUpgradeRejection,
};
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use sessile_model::wire;
use sessile_model::{Problem, ProblemKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::body::Word;
use super::sessions::live;
use super::{Refused, Shared};
use crate::daemon::link_problem;
use crate::{inside, keeper_link};

/// Largest message that is taken from a client, in bytes.
const MAX_MESSAGE: usize = 1 << 20;
/// Bytes read from the keeper at once.
const CHUNK: usize = 64 << 10;

/// Attaches to a session. After the upgrade each binary message holds whole frames of the
/// keeper's protocol, both ways (docs/attach.md). Who lost a connection goes on where it was: it attaches
/// again under the same `client` number, with the offset behind the last byte that it has as
/// `resume_from`. What was written since follows as output; where that is no longer kept, or is more
/// than 512 KiB, one dump draws the screen instead and live output follows it. The answer says which
/// input frames were written (`input_done`) and begun (`input_started`): those above may be sent again.
#[utoipa::path(get, path = "/v1/sessions/{s}/attach", tag = "sessions", operation_id = "attach",
    params(("s" = String, Path, description = "Its name, its id, its short id, or the beginning of one")),
    responses((status = 101, description = "WebSocket"), (status = "default", body = Problem, content_type = "application/problem+json")))]
pub async fn attach(
    State(daemon): Shared,
    Word(word): Word,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refused> {
    let id = live(&daemon, &word).await?;
    inside::findable(&daemon, id).await?;
    let upgrade = upgrade
        .map_err(|_| Problem::new(ProblemKind::BadRequest, "this path takes WebSocket connections only"))?;
    let keeper =
        keeper_link::connect(&daemon.folders.keeper_socket(id)).await.map_err(|e| link_problem(&e))?;
    Ok(upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |client| pump(client, keeper)))
}

async fn pump(client: WebSocket, keeper: UnixStream) {
    let (to_client, from_client) = client.split();
    let (from_keeper, to_keeper) = keeper.into_split();
    // Whichever side ends takes the other with it: both halves are dropped on return.
    tokio::select! {
        () = outwards(from_keeper, to_client) => {}
        () = inwards(from_client, to_keeper) => {}
    }
}

async fn outwards(mut keeper: OwnedReadHalf, mut client: SplitSink<WebSocket, Message>) {
    let mut buffer = Vec::new();
    let why = loop {
        let Ok(whole) = whole_frames(&buffer) else { break "the keeper sent a malformed frame" };
        if whole > 0 {
            let rest = buffer.split_off(whole);
            let frames = std::mem::replace(&mut buffer, rest);
            if client.send(Message::Binary(frames.into())).await.is_err() {
                return;
            }
        }
        if buffer.is_empty() {
            // Nothing is kept for a session that is silent.
            buffer = Vec::new();
            if keeper.readable().await.is_err() {
                break "the keeper's socket failed";
            }
        }
        buffer.reserve(CHUNK);
        match keeper.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break "the keeper closed the connection",
            Ok(_) => {}
        }
    };
    let close = CloseFrame { code: close_code::AWAY, reason: why.into() };
    // The client may be gone as well.
    let _ = client.send(Message::Close(Some(close))).await;
}

/// Bytes of the whole frames at the beginning of `buffer`.
fn whole_frames(buffer: &[u8]) -> Result<usize, wire::FrameError> {
    let mut whole = 0;
    while let Some((_, _, len)) = wire::take_frame(&buffer[whole..])? {
        whole += len;
    }
    Ok(whole)
}

async fn inwards(mut client: SplitStream<WebSocket>, mut keeper: OwnedWriteHalf) {
    while let Some(Ok(message)) = client.next().await {
        match message {
            Message::Binary(frames) => {
                if keeper.write_all(&frames).await.is_err() {
                    return;
                }
            }
            Message::Close(_) => return,
            // Pings are answered by the library; text has no meaning here.
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use sessile_model::wire::FrameType;

    use super::*;

    #[test]
    fn only_whole_frames_are_passed_on() {
        let mut frames = Vec::new();
        wire::put_frame(&mut frames, FrameType::Output, 1, &[&[0; 8], b"hello"]);
        let first = frames.len();
        wire::put_frame(&mut frames, FrameType::Output, 1, &[&[0; 8], b"again"]);
        assert_eq!(whole_frames(&frames), Ok(frames.len()));
        assert_eq!(whole_frames(&frames[..frames.len() - 1]), Ok(first));
        assert_eq!(whole_frames(&frames[..3]), Ok(0));
        assert!(whole_frames(&[0xff; 8]).is_err());
    }
}
