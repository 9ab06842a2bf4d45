//! Seals for iii workers written with the Rust SDK: an end of stream that can be trusted.
//!
//! ```no_run
//! # use futures_util::StreamExt;
//! # async fn handler(address: &str, reader: &serde_json::Value, writer: &serde_json::Value) -> Result<(), iii_seal::Error> {
//! let mut data = iii_seal::verified(address, reader);
//! let mut out = iii_seal::sealed(address, writer);
//! while let Some(chunk) = data.next().await {
//!     out.write(&chunk?).await?; // an error where a plain reader would just stop
//! }
//! out.close().await // a writer that is dropped before aborts its stream
//! # }
//! ```
//!
//! The format is docs/seal.md of the project `iii-cli`; its vectors are among the tests.

use std::fmt::{self, Display};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, Stream, StreamExt};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{json, Map, Value};
use sha2::Digest as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout, timeout_at, Instant};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{frame::coding::CloseCode, CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::WebSocketStream;

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const BEAT_AFTER: Duration = Duration::from_secs(15); // without another frame the writer sends a beat
const PEER_TIMEOUT: Duration = Duration::from_secs(60); // without a byte a sealed writer is gone
const ABORT_WITHIN: Duration = Duration::from_secs(2);
const RECEIPT_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const CHUNK: usize = 64 * 1024; // bytes of a binary frame, as the SDK writes them
const CHUNK_FAST: usize = 256 * 1024; // where one takes less than FAST: no beat can pass a frame
const FAST: Duration = Duration::from_secs(1);
const FRAME_MAX: usize = 16 << 20; // bytes; the engine drops the connection for a longer frame
const QUEUE: usize = 16; // frames between the task of a socket and the handler

/// What is wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The stream has no end: its writer died or vanished, or the connection broke.
    Truncated(String),
    /// The writer said that it failed: its exit status, and one line for people.
    Aborted { code: i64, reason: String },
    /// The writer sends no seal, so the end of its stream cannot be verified.
    Unsealed,
    /// What arrived is not what the writer sealed.
    Damaged(String),
    /// Nothing at all arrived: the ref was already used, or expired, or the writer sent nothing.
    Empty,
    /// The stream could not be handed to the engine: the end was already taken, or the reader left.
    Broken(String),
    /// The end could not be opened.
    Connect(String),
}

impl Error {
    /// What `iii` ends with for the same.
    pub fn exit_status(&self) -> i64 {
        match self {
            Error::Truncated(_) | Error::Aborted { .. } | Error::Unsealed => 7,
            Error::Damaged(_) => 8,
            Error::Empty => 6,
            Error::Broken(_) => 9,
            Error::Connect(_) => 3,
        }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated(text) | Error::Broken(text) | Error::Connect(text) => f.write_str(text),
            Error::Aborted { reason, .. } if reason.is_empty() => f.write_str("aborted by the writer: no reason given"),
            Error::Aborted { reason, .. } => write!(f, "aborted by the writer: {reason}"),
            Error::Unsealed => f.write_str("the writer sent no seal"),
            Error::Damaged(text) => write!(f, "not what the writer sealed: {text}"),
            Error::Empty => f.write_str(
                "nothing arrived: the ref was already used, or expired, or the writer sent nothing",
            ),
        }
    }
}

impl std::error::Error for Error {}

// The seal, without any I/O (docs: seal, "Frames" to "Verdict")

const LONGEST: usize = 16 * 1024; // bytes of a frame of the seal
const MODES: [&str; 5] = ["bytes", "lines", "text", "records", "jsonl"];

/// `text` on one line, without control and bidirectional characters, at most 500 long.
fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c as u32, 0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890..=0x891 | 0x8E2 | 0x180E
                | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xE000..=0xF8FF | 0xFEFF
                | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3
                | 0x1D173..=0x1D17A | 0xE0001 | 0xE0020..=0xE007F | 0xF0000..)
    };
    let clean: String = text.chars().take(1000).map(|c| if hidden(c) { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(500).collect()
}

enum Digest {
    Xxh3(Box<xxhash_rust::xxh3::Xxh3>),
    Sha256(sha2::Sha256),
}

impl Digest {
    fn new(name: &str) -> Option<Digest> {
        match name {
            "xxh3_128" => Some(Digest::Xxh3(Box::default())),
            "sha256" => Some(Digest::Sha256(sha2::Sha256::new())),
            _ => None,
        }
    }

    fn update(&mut self, data: &[u8]) {
        match self {
            Digest::Xxh3(digest) => digest.update(data),
            Digest::Sha256(digest) => digest.update(data),
        }
    }

    fn hex(&self) -> String {
        match self {
            Digest::Xxh3(digest) => format!("{:032x}", digest.digest128()),
            Digest::Sha256(digest) => digest.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// The totals of one stream, as it goes by.
pub struct Counter {
    digest: Digest,
    messages_digest: Digest,
    records: bool,
    bytes: u64,
    messages: u64,
    frames: u64,
}

impl Counter {
    /// None for a digest that is not known.
    pub fn new(digest: &str, records: bool) -> Option<Counter> {
        let (digest, messages_digest) = (Digest::new(digest)?, Digest::new(digest)?);
        Some(Counter { digest, messages_digest, records, bytes: 0, messages: 0, frames: 0 })
    }

    /// A binary message.
    pub fn chunk(&mut self, data: &[u8]) {
        self.frame(0, data);
        self.digest.update(data);
        self.bytes += data.len() as u64;
    }

    /// A text message.
    pub fn message(&mut self, text: &[u8]) {
        if self.frame(1, text) {
            self.digest.update(text);
        }
        let mut head = [0; 12];
        head[..8].copy_from_slice(&self.bytes.to_be_bytes());
        head[8..].copy_from_slice(&(text.len() as u32).to_be_bytes());
        self.messages_digest.update(&head);
        self.messages_digest.update(text);
        self.messages += 1;
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> bool {
        if self.records {
            self.digest.update(&[kind]);
            self.digest.update(&(payload.len() as u32).to_be_bytes());
            self.frames += 1;
        }
        self.records
    }

    pub fn totals(&self) -> Map<String, Value> {
        let mut totals = Map::new();
        totals.insert("bytes".into(), self.bytes.into());
        totals.insert("digest".into(), self.digest.hex().into());
        totals.insert("messages".into(), self.messages.into());
        totals.insert("messages_digest".into(), self.messages_digest.hex().into());
        if self.records {
            totals.insert("frames".into(), self.frames.into());
        }
        totals
    }
}

/// JSON in which no key comes twice.
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Once;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Once, E> {
                Ok(Once(value.into()))
            }
            fn visit_unit<E>(self) -> Result<Once, E> {
                Ok(Once(Value::Null))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Once, A::Error> {
                let mut found = Vec::new();
                while let Some(Once(item)) = items.next_element()? {
                    found.push(item);
                }
                Ok(Once(found.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Once, A::Error> {
                let mut found = Map::new();
                while let Some((key, Once(value))) = pairs.next_entry::<String, Once>()? {
                    if found.insert(key, value).is_some() {
                        return Err(serde::de::Error::custom("a key comes twice"));
                    }
                }
                Ok(Once(found.into()))
            }
        }
        from.deserialize_any(Reader)
    }
}

/// Does `text` begin with these tokens, white space aside?
fn begins(mut text: &str, tokens: &[&str]) -> bool {
    tokens.iter().all(|token| {
        let rest = text.trim_start_matches([' ', '\t', '\r', '\n']).strip_prefix(token);
        text = rest.unwrap_or(text);
        rest.is_some()
    })
}

struct Frame {
    id: String,
    kind: String,
    body: Map<String, Value>,
}

/// A seal's frame; None for a message. An error where it claims to be of a seal and is not right.
fn parse(text: &str) -> Result<Option<Frame>, String> {
    if text.len() > LONGEST || !begins(text, &["{", "\"iii\""]) {
        return Ok(None);
    }
    let outer = match serde_json::from_str::<Once>(text) {
        Ok(Once(Value::Object(outer))) => outer,
        _ if begins(text, &["{", "\"iii\"", ":", "{", "\"v\"", ":"]) => return Err("a seal frame that is not JSON".into()),
        _ => return Ok(None),
    };
    let inner = match outer.get("iii") {
        Some(Value::Object(inner)) if outer.len() == 1 && inner.contains_key("v") => inner,
        _ => return Ok(None),
    };
    if inner.len() == 2 && inner.contains_key("receipt") {
        return Ok(None);
    }
    if inner["v"] != json!(1) {
        return Err("a seal of an unknown version".into());
    }
    let kinds: Vec<_> = inner.iter().filter(|(key, _)| *key != "v" && *key != "id").collect();
    let (kind, body) = match kinds[..] {
        [(kind, Value::Object(body))] if ["open", "beat", "close", "abort"].contains(&kind.as_str()) => (kind, body),
        _ => return Err("a seal frame of an unknown kind".into()),
    };
    match inner.get("id") {
        Some(Value::String(id)) if is_id(id) && is_right(kind, body) => {
            Ok(Some(Frame { id: id.clone(), kind: kind.clone(), body: body.clone() }))
        }
        _ => Err(format!("a malformed {kind} frame")),
    }
}

fn is_id(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_right(kind: &str, body: &Map<String, Value>) -> bool {
    let count = |name: &str| body.get(name).and_then(Value::as_u64).is_some_and(|count| count <= i64::MAX as u64);
    let text = |name: &str| body.get(name).is_some_and(Value::is_string);
    let absent = |name: &str| body.get(name).is_none_or(Value::is_null);
    match kind {
        "beat" => body.len() == 1 && count("bytes"),
        "abort" => {
            let code = body.get("code").and_then(Value::as_i64);
            body.len() == 2 && code.is_some_and(|code| code != i64::MIN) && text("reason")
        }
        "close" => {
            let right = count("bytes") && text("digest") && count("messages") && text("messages_digest");
            right && (body.len() == 4 || (body.len() == 5 && count("frames")))
        }
        _ => {
            let name = |key: &str| body.get(key).and_then(Value::as_str).unwrap_or("");
            MODES.contains(&name("mode"))
                && Digest::new(name("digest")).is_some()
                && (absent("size") || count("size"))
                && (absent("receipt") || is_writer(&body["receipt"]))
        }
    }
}

fn is_writer(reference: &Value) -> bool {
    let text = |name: &str| reference.get(name).and_then(Value::as_str).unwrap_or("");
    !text("channel_id").is_empty() && !text("access_key").is_empty() && text("direction") == "write"
}

#[derive(PartialEq)]
enum State {
    Nothing,
    Foreign,
    Sealed,
    Closed,
    Failed(Error),
}

/// Takes every frame in order and knows how the stream ended.
///
/// `chunk` and `message` return whether the frame is data to hand on. When `finished` turns true, nothing more
/// belongs to the stream.
pub struct Verifier {
    accept_unsealed: bool,
    allow_empty: bool,
    id: String,
    last: Vec<u8>, // message, if it may be an object
    state: State,
    counter: Counter,
    opened: Option<Map<String, Value>>,
}

impl Verifier {
    pub fn new(accept_unsealed: bool, allow_empty: bool) -> Verifier {
        let counter = Counter::new("xxh3_128", false).expect("a known digest");
        let (id, last) = Default::default();
        Verifier { accept_unsealed, allow_empty, id, last, state: State::Nothing, counter, opened: None }
    }

    pub fn finished(&self) -> bool {
        matches!(self.state, State::Closed | State::Failed(_))
    }

    pub fn verified(&self) -> bool {
        self.state == State::Closed
    }

    pub fn totals(&self) -> Map<String, Value> {
        self.counter.totals()
    }

    /// A binary message.
    pub fn chunk(&mut self, data: &[u8]) -> bool {
        let is_data = self.data();
        if is_data {
            self.counter.chunk(data);
        }
        is_data
    }

    /// A text message.
    pub fn message(&mut self, text: &str) -> bool {
        match parse(text) {
            Ok(Some(frame)) if self.id.is_empty() || self.id == frame.id => {
                self.seal(frame);
                return false;
            }
            Err(problem) if text.contains(&self.id) => {
                // every text before the open frame does
                self.fail(problem);
                return false;
            }
            _ => {}
        }
        let is_data = self.data();
        if is_data {
            self.counter.message(text.as_bytes());
            self.last.clear();
            if begins(text, &["{"]) {
                self.last.extend_from_slice(text.as_bytes());
            }
        }
        is_data
    }

    /// The verdict, when `finished` or at the end of the connection. `close_frame`: did a WebSocket Close come?
    /// `silent_for`: after which silence the reader gave up.
    pub fn verdict(&self, close_frame: bool, silent_for: Option<Duration>) -> Result<(), Error> {
        let amount = format!("{} bytes and {} messages", self.counter.bytes, self.counter.messages);
        match &self.state {
            State::Closed => return Ok(()),
            State::Failed(error) => return Err(error.clone()),
            State::Sealed => {
                return Err(Error::Truncated(match silent_for {
                    Some(time) => {
                        format!("the writer vanished: {} s of silence after {amount}", time.as_secs_f64())
                    }
                    None => format!("truncated: the stream ended after {amount} without its close frame"),
                }))
            }
            State::Nothing | State::Foreign => {}
        }
        if let Some(reason) = sole_error(&self.last) {
            return Err(Error::Aborted { code: 1, reason });
        }
        if !close_frame {
            return Err(Error::Truncated(format!("the connection broke after {amount}")));
        }
        if self.state == State::Nothing && !self.allow_empty {
            return Err(Error::Empty);
        }
        if self.accept_unsealed {
            Ok(())
        } else {
            Err(Error::Unsealed)
        }
    }

    fn data(&mut self) -> bool {
        match self.state {
            State::Nothing if self.accept_unsealed => self.state = State::Foreign,
            State::Nothing => self.state = State::Failed(Error::Unsealed),
            State::Closed => self.fail("the stream went on after its close frame".into()),
            _ => {}
        }
        !self.finished()
    }

    /// Nothing mends or worsens a stream that has failed.
    fn fail(&mut self, why: String) {
        if !matches!(self.state, State::Failed(_)) {
            self.state = State::Failed(Error::Damaged(why));
        }
    }

    fn seal(&mut self, Frame { id, kind, body }: Frame) {
        match (&self.state, kind.as_str()) {
            (State::Nothing, "open") => {
                let name = |key: &str| body[key].as_str().unwrap_or("");
                self.counter = Counter::new(name("digest"), name("mode") == "records").expect("a known digest");
                self.opened = Some(body);
                self.id = id;
                self.state = State::Sealed;
            }
            (State::Sealed, "open") => self.fail("the open frame came twice".into()),
            (State::Sealed, "abort") => {
                let reason = printable(body["reason"].as_str().unwrap_or(""));
                let code = body["code"].as_i64().unwrap_or(1);
                self.state = State::Failed(Error::Aborted { code, reason });
            }
            (State::Sealed, "beat") => {
                let (sent, arrived) = (&body["bytes"], self.counter.bytes);
                if *sent != json!(arrived) {
                    self.fail(format!("the writer had sent {sent} bytes, {arrived} arrived"));
                }
            }
            (State::Sealed, _) => {
                let totals = self.counter.totals();
                if body == totals {
                    self.state = State::Closed;
                } else {
                    let wrong = totals.iter().find(|(name, total)| body.get(*name) != Some(total));
                    let name = wrong.map_or("frames", |(name, _)| name);
                    self.fail(format!("{name} of the close frame differs from what arrived"));
                }
            }
            _ => self.fail("a frame of the seal is in the wrong place".into()),
        }
    }
}

/// The text of an object whose only key is `error`: the engine's own streams fail so.
fn sole_error(message: &[u8]) -> Option<String> {
    let value: Map<String, Value> = serde_json::from_slice(message).ok()?;
    match value.get("error")? {
        _ if value.len() != 1 => None,
        Value::String(text) => Some(printable(text)),
        other => Some(printable(&other.to_string())),
    }
}

fn seal_frame(id: &str, kind: &str, body: Value) -> Message {
    Message::text(json!({"iii": {"v": 1, "id": id, kind: body}}).to_string())
}

// Sockets. The SDK's ends keep their socket to themselves, and their futures lose it when they are dropped. So it is
// opened here, as the SDK would, and lives in a task of its own: what the handler does with its futures cannot hurt it.

/// Counts what comes: bytes of a frame that is not yet whole are a sign of life.
struct Counted {
    stream: TcpStream,
    got: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.got.fetch_add((buf.filled().len() - before) as u64, Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(feature = "tls")]
type Socket = WebSocketStream<tokio_tungstenite::MaybeTlsStream<Counted>>;
#[cfg(not(feature = "tls"))]
type Socket = WebSocketStream<Counted>;

struct End {
    socket: Socket,
    got: Arc<AtomicU64>,
}

/// Where an end of a channel is: the engine's address as given to the SDK, and a ref.
#[derive(Clone)]
struct Place {
    address: String,
    channel_id: String,
    access_key: String,
}

impl Place {
    fn new(address: &str, reference: &impl serde::Serialize) -> Place {
        let reference = serde_json::to_value(reference).unwrap_or_default();
        let text = |name: &str| reference[name].as_str().unwrap_or_default().to_owned();
        Place { address: address.into(), channel_id: text("channel_id"), access_key: text("access_key") }
    }

    fn url(&self, direction: &str) -> String {
        let (base, query) = self.address.split_once('?').unwrap_or((&self.address, ""));
        let (base, query) = (base.trim_end_matches('/'), if query.is_empty() { "".into() } else { format!("{query}&") });
        let (id, key) = (quoted(&self.channel_id), quoted(&self.access_key));
        format!("{base}/ws/channels/{id}?{query}key={key}&dir={direction}")
    }

    async fn open(&self, direction: &str) -> Result<End, Error> {
        match timeout(CONNECT_WITHIN, self.connect(direction)).await {
            Ok(Ok(end)) => Ok(end),
            Ok(Err(WsError::Http(answer))) => Err(Error::Connect(format!("the engine answered {}", answer.status()))),
            Ok(Err(error)) => Err(Error::Connect(format!("cannot open the channel: {error}"))),
            Err(_) => Err(Error::Connect("cannot open the channel: the engine does not answer".into())),
        }
    }

    async fn connect(&self, direction: &str) -> Result<End, WsError> {
        let mut request = self.url(direction).into_client_request()?;
        let token = std::env::var("III_TOKEN").unwrap_or_default();
        if let (false, Ok(value)) = (token.trim().is_empty(), format!("Bearer {}", token.trim()).parse()) {
            request.headers_mut().insert("authorization", value);
        }
        let secure = request.uri().scheme_str() == Some("wss");
        let host = request.uri().host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = request.uri().port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let got = Arc::new(AtomicU64::new(0));
        let counted = Counted { stream, got: got.clone() };
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        #[cfg(feature = "tls")]
        let opening = tokio_tungstenite::client_async_tls_with_config(request, counted, Some(config), None);
        #[cfg(not(feature = "tls"))]
        let opening = tokio_tungstenite::client_async_with_config(request, counted, Some(config));
        Ok(End { socket: opening.await?.0, got })
    }
}

fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl End {
    async fn send(&mut self, message: Message) -> Result<(), Error> {
        let sent = self.socket.send(message).await;
        sent.map_err(|error| Error::Broken(format!("the connection was lost: {error}")))
    }

    /// Close, and wait for the answer: is it the engine's echo?
    async fn close(&mut self, reason: &'static str) -> bool {
        let frame = CloseFrame { code: CloseCode::Normal, reason: reason.into() };
        if self.socket.close(Some(frame)).await.is_err() {
            return false;
        }
        while let Some(Ok(message)) = self.socket.next().await {
            if let Message::Close(Some(frame)) = message {
                return frame.code == CloseCode::Normal && frame.reason.as_str() == reason;
            }
        }
        false
    }
}

// Writing

enum Order {
    Data(Message),
    Close(oneshot::Sender<Result<(), Error>>),
    Abort(i64, String),
}

/// The writer of a sealed stream; see [`sealed`].
pub struct Sealed {
    start: Option<(Place, Map<String, Value>)>,
    orders: Option<mpsc::Sender<Order>>,
    task: Option<JoinHandle<Error>>,
    records: bool,
    chunk: usize,
}

/// A stream whose end its reader can trust, written to the end of a channel that nobody opened yet. `address` is
/// the engine's, `reference` the SDK's `StreamChannelRef` or its JSON. The end is opened at the first write or at
/// the close; until [`Sealed::close`] or [`Sealed::finish`] has returned, nothing is sealed, and a writer that is
/// dropped aborts its stream.
pub fn sealed(address: &str, reference: &impl serde::Serialize) -> Sealed {
    let mut opening = Map::new();
    opening.insert("mode".into(), "bytes".into());
    opening.insert("digest".into(), "xxh3_128".into());
    Sealed { start: Some((Place::new(address, reference), opening)), orders: None, task: None, records: false, chunk: CHUNK }
}

impl Sealed {
    /// What the data is: `bytes`, `lines`, `text` or `records` (`jsonl` is that, too, as the option of `iii`).
    ///
    /// # Panics
    /// For another mode, and after the first write.
    pub fn mode(self, mode: &str) -> Sealed {
        assert!(MODES.contains(&mode), "an unknown mode");
        let mode = if mode == "jsonl" { "records" } else { mode };
        let mut it = self.with("mode", mode.into());
        it.records = mode == "records";
        it
    }

    /// `xxh3_128` or `sha256`.
    ///
    /// # Panics
    /// For another digest, and after the first write.
    pub fn digest(self, digest: &str) -> Sealed {
        assert!(Digest::new(digest).is_some(), "an unknown digest");
        self.with("digest", digest.into())
    }

    /// How many bytes are to come, for a progress bar.
    pub fn size(self, bytes: u64) -> Sealed {
        self.with("size", bytes.into())
    }

    fn with(mut self, key: &str, value: Value) -> Sealed {
        let (_, opening) = self.start.as_mut().expect("before the first write");
        opening.insert(key.into(), value);
        self
    }

    /// Send bytes; in mode `records` they are one record. Returns when the task that sends them has taken them.
    pub async fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.records {
            return self.order_data(Message::binary(data.to_vec())).await;
        }
        let mut left = data;
        while !left.is_empty() {
            let (part, rest) = left.split_at(left.len().min(self.chunk));
            let began = Instant::now();
            self.order_data(Message::binary(Bytes::copy_from_slice(part))).await?;
            self.chunk = if began.elapsed() < FAST { CHUNK_FAST } else { CHUNK };
            left = rest;
        }
        Ok(())
    }

    /// Send one text message.
    pub async fn send_message(&mut self, text: &str) -> Result<(), Error> {
        self.order_data(Message::text(text)).await
    }

    /// Seal the stream; returns when the engine has everything, which takes as long as the reader needs.
    pub async fn close(mut self) -> Result<(), Error> {
        let (done, closed) = oneshot::channel();
        self.order(Order::Close(done)).await?;
        self.orders = None;
        match closed.await {
            Ok(result) => result,
            Err(_) => Err(self.why().await),
        }
    }

    /// End the stream as failed: its reader hears code and reason.
    pub async fn abort(mut self, code: i64, reason: &str) {
        let order = self.order(Order::Abort(code, printable(reason)));
        let sent = timeout(ABORT_WITHIN, order).await;
        self.orders = None;
        if let (Ok(Ok(())), Some(task)) = (sent, &mut self.task) {
            let _ = timeout(ABORT_WITHIN, task).await; // what is left of it ends with `self`
        }
    }

    /// `close` for an Ok, and for an Err `abort` with its text, which is returned.
    pub async fn finish<T, E: Display + From<Error>>(self, result: Result<T, E>) -> Result<T, E> {
        match &result {
            Ok(_) => self.close().await?,
            Err(error) => self.abort(1, &error.to_string()).await,
        }
        result
    }

    async fn order_data(&mut self, message: Message) -> Result<(), Error> {
        if message.len() > FRAME_MAX {
            return Err(Error::Broken("one message is at most 16 MiB".into()));
        }
        self.order(Order::Data(message)).await
    }

    async fn order(&mut self, order: Order) -> Result<(), Error> {
        if let Some((place, opening)) = self.start.take() {
            let (orders, taken) = mpsc::channel(4);
            self.orders = Some(orders);
            self.task = Some(tokio::spawn(write_sealed(place, opening, taken)));
        }
        match &self.orders {
            Some(orders) if orders.send(order).await.is_ok() => Ok(()),
            _ => Err(self.why().await),
        }
    }

    /// Why the task has ended.
    async fn why(&mut self) -> Error {
        match self.task.take() {
            Some(task) => task.await.unwrap_or_else(|_| Error::Broken("the stream was dropped".into())),
            None => Error::Broken("the stream has ended".into()),
        }
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.orders = None; // the task hears that, and aborts the stream
        if let (Some(mut task), Ok(runtime)) = (self.task.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move {
                if timeout(ABORT_WITHIN, &mut task).await.is_err() {
                    task.abort();
                }
            });
        }
    }
}

/// Returns what went wrong, for the next write.
async fn write_sealed(place: Place, opening: Map<String, Value>, mut orders: mpsc::Receiver<Order>) -> Error {
    match write_all(place, opening, &mut orders).await {
        Ok(()) => Error::Broken("the stream has ended".into()),
        Err(error) => error,
    }
}

async fn write_all(
    place: Place,
    opening: Map<String, Value>,
    orders: &mut mpsc::Receiver<Order>,
) -> Result<(), Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::Broken(error.to_string()))?;
    let id: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let name = |key: &str| opening[key].as_str().unwrap_or("");
    let mut counter = Counter::new(name("digest"), name("mode") == "records").expect("a known digest");
    let mut end = place.open("write").await?;
    end.send(seal_frame(&id, "open", Value::Object(opening))).await?;
    loop {
        let beat_at = Instant::now() + BEAT_AFTER;
        let order = loop {
            tokio::select! { // each of these can be dropped without loss
                order = orders.recv() => break order,
                () = tokio::time::sleep_until(beat_at) => {
                    end.send(seal_frame(&id, "beat", json!({"bytes": counter.bytes}))).await?;
                    break Some(Order::Data(Message::Ping(Bytes::new()))); // nothing to send
                }
                message = end.socket.next() => match message {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    _ => return Err(Error::Broken("the writer end was already taken, or the reader left".into())),
                },
            }
        };
        match order {
            Some(Order::Data(message)) => {
                match &message {
                    Message::Binary(data) => counter.chunk(data),
                    Message::Text(text) => counter.message(text.as_bytes()),
                    _ => continue,
                }
                end.send(message).await?;
            }
            Some(Order::Close(done)) => {
                let body = Value::Object(counter.totals());
                let sent = end.send(seal_frame(&id, "close", body)).await;
                let whole = sent.is_ok() && end.close("sealed").await;
                let _ = done.send(if whole { Ok(()) } else { Err(not_taken()) });
                return Ok(());
            }
            Some(Order::Abort(code, reason)) => return abort(&mut end, &id, code, reason).await,
            None => return abort(&mut end, &id, 1, "the handler failed".into()).await,
        }
    }
}

async fn abort(end: &mut End, id: &str, code: i64, reason: String) -> Result<(), Error> {
    end.send(seal_frame(id, "abort", json!({"code": code, "reason": reason}))).await?;
    end.close("aborted").await;
    Ok(())
}

fn not_taken() -> Error {
    Error::Broken(
        "the engine did not take the whole stream: the writer end was already taken, or the reader left".into(),
    )
}

// Reading

/// What the task hands on; None: the stream has ended well. A task that panicked does not say so.
type Item = Result<Option<Bytes>, Error>;
type OnMessage = Box<dyn FnMut(String) + Send>;
type Answer = Result<(), (Option<i64>, String)>;

struct Reading {
    place: Place,
    verifier: Verifier,
    on_message: Option<OnMessage>,
    peer_timeout: Duration,
}

/// The data of a stream, which is a [`Stream`] of chunks; see [`verified`].
pub struct Verified {
    start: Option<Reading>,
    mode: Arc<OnceLock<String>>,
    chunks: Option<mpsc::Receiver<Item>>,
    answer: Option<oneshot::Sender<Answer>>,
    task: Option<JoinHandle<()>>,
    ended: bool,
}

/// The data as it comes, and an error in place of a clean end, from the end of a channel that nobody opened yet.
/// `address` is the engine's, `reference` the SDK's `StreamChannelRef` or its JSON. Until the stream has ended
/// with None, nothing is verified: leaving it early verifies nothing.
pub fn verified(address: &str, reference: &impl serde::Serialize) -> Verified {
    let reading = Reading {
        place: Place::new(address, reference),
        verifier: Verifier::new(false, false),
        on_message: None,
        peer_timeout: PEER_TIMEOUT,
    };
    let (mode, chunks, answer, task) = Default::default();
    Verified { start: Some(reading), mode, chunks, answer, task, ended: false }
}

impl Verified {
    /// Take a writer without a seal as it is.
    pub fn accept_unsealed(self) -> Verified {
        self.with(|reading| reading.verifier.accept_unsealed = true)
    }

    /// Nothing at all is no error.
    pub fn allow_empty(self) -> Verified {
        self.with(|reading| reading.verifier.allow_empty = true)
    }

    /// Called for each text message, in order with the data.
    pub fn on_message(self, callback: impl FnMut(String) + Send + 'static) -> Verified {
        self.with(|reading| reading.on_message = Some(Box::new(callback)))
    }

    /// How long a sealed writer may be silent. [60 s]
    pub fn peer_timeout(self, time: Duration) -> Verified {
        self.with(|reading| reading.peer_timeout = time)
    }

    fn with(mut self, set: impl FnOnce(&mut Reading)) -> Verified {
        set(self.start.as_mut().expect("before the first chunk"));
        self
    }

    /// How the writer framed its data. None before the first frame and for a writer without a seal.
    pub fn mode(&self) -> Option<&str> {
        self.mode.get().map(String::as_str)
    }

    /// The whole data.
    pub async fn read_all(&mut self) -> Result<Vec<u8>, Error> {
        let mut data = Vec::new();
        while let Some(chunk) = self.next().await {
            data.extend_from_slice(&chunk?);
        }
        Ok(data)
    }

    /// Tells a writer that asked for a receipt how it ended: an Ok after the end of the stream confirms it. Returns
    /// `result`. A stream that is dropped confirms nothing.
    pub async fn finish<T, E: Display>(mut self, result: Result<T, E>) -> Result<T, E> {
        let answer = match &result {
            Ok(_) if self.ended => Ok(()),
            Ok(_) => Err((None, "stopped early".into())),
            Err(error) => Err((Some(1), error.to_string())),
        };
        if let Some(to) = self.answer.take() {
            let _ = to.send(answer);
        }
        self.chunks = None;
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
        result
    }
}

impl Stream for Verified {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(reading) = self.start.take() {
            let (chunks, taken) = mpsc::channel(QUEUE);
            let (answer, asked) = oneshot::channel();
            self.chunks = Some(taken);
            self.answer = Some(answer);
            self.task = Some(tokio::spawn(read(reading, self.mode.clone(), chunks, asked)));
        }
        let Some(chunks) = &mut self.chunks else { return Poll::Ready(None) };
        match chunks.poll_recv(cx) {
            Poll::Ready(Some(Ok(Some(chunk)))) => Poll::Ready(Some(Ok(chunk))),
            Poll::Ready(Some(Ok(None))) => {
                self.ended = true;
                self.chunks = None;
                Poll::Ready(None)
            }
            Poll::Ready(end) => {
                self.chunks = None;
                let lost = Error::Truncated("the task that reads the stream was lost".into());
                Poll::Ready(Some(Err(end.and_then(Result::err).unwrap_or(lost))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

async fn read(
    mut reading: Reading,
    mode: Arc<OnceLock<String>>,
    chunks: mpsc::Sender<Item>,
    asked: oneshot::Receiver<Answer>,
) {
    let mut receipt = None;
    let ended = read_all(&mut reading, &mode, &chunks, &mut receipt).await;
    let verified = reading.verifier.verified();
    let answer = match ended {
        Some(Ok(())) => {
            let _ = chunks.send(Ok(None)).await;
            drop(chunks);
            match asked.await {
                Ok(answer) => answer,
                Err(_) if verified => Err((None, "verified, not confirmed".into())),
                Err(_) => Err((None, "not verified".into())),
            }
        }
        Some(Err(error)) => {
            let answer = Err((Some(error.exit_status()), error.to_string()));
            let _ = chunks.send(Err(error)).await;
            answer
        }
        None => asked.await.unwrap_or_else(|_| Err((None, "stopped early".into()))),
    };
    if let Some(receipt) = receipt {
        answer_receipt(receipt, reading.verifier.totals(), answer).await;
    }
}

/// None where the handler wants no more.
async fn read_all(
    reading: &mut Reading,
    mode: &OnceLock<String>,
    chunks: &mpsc::Sender<Item>,
    receipt: &mut Option<Receipt>,
) -> Option<Result<(), Error>> {
    let mut end = match reading.place.open("read").await {
        Ok(end) => end,
        Err(error) => return Some(Err(error)),
    };
    let (verifier, silence) = (&mut reading.verifier, reading.peer_timeout);
    let (mut close_frame, mut silent_for) = (false, None);
    while !verifier.finished() {
        let next = tokio::select! {
            next = next_message(&mut end, verifier.opened.is_some().then_some(silence)) => next,
            () = chunks.closed() => return None,
        };
        match next {
            Ok(Some(Ok(Message::Binary(data)))) => {
                if verifier.chunk(&data) {
                    if let Some(receipt) = receipt {
                        receipt.bytes.store(verifier.counter.bytes, Relaxed);
                    }
                    if chunks.send(Ok(Some(data))).await.is_err() {
                        return None;
                    }
                }
            }
            Ok(Some(Ok(Message::Text(text)))) => {
                if verifier.message(&text) {
                    if let Some(callback) = &mut reading.on_message {
                        callback(text.to_string());
                    }
                } else if let (Some(opened), None) = (&verifier.opened, mode.get()) {
                    let _ = mode.set(opened["mode"].as_str().unwrap_or("").into());
                    *receipt = Receipt::hold(&reading.place.address, opened);
                }
            }
            Ok(Some(Ok(Message::Close(_)))) => {
                close_frame = true;
                break;
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(_)) | None) => break,
            Err(Silence) => {
                silent_for = Some(silence);
                break;
            }
        }
    }
    Some(verifier.verdict(close_frame, silent_for))
}

struct Silence;

/// The next message, or word that nothing came for `patience`. Ten looks, so that a process that was stopped takes
/// a look before it gives up, and bytes of a frame that is not yet whole count as life.
async fn next_message(end: &mut End, patience: Option<Duration>) -> Result<Option<Result<Message, WsError>>, Silence> {
    let Some(patience) = patience else { return Ok(end.socket.next().await) };
    let (mut silent, mut got) = (0, end.got.load(Relaxed));
    while silent < 10 {
        if let Ok(message) = timeout(patience / 10, end.socket.next()).await {
            return Ok(message);
        }
        let now = end.got.load(Relaxed);
        silent = if now == got { silent + 1 } else { 0 };
        got = now;
    }
    Err(Silence)
}

/// The writer end that the open frame named: opened when it comes, held until there is something to say. What goes
/// wrong here is the writer's loss.
struct Receipt {
    bytes: Arc<AtomicU64>,
    answer: oneshot::Sender<Value>,
    task: JoinHandle<()>,
}

impl Receipt {
    fn hold(address: &str, opened: &Map<String, Value>) -> Option<Receipt> {
        let place = Place::new(address, opened.get("receipt").filter(|receipt| !receipt.is_null())?);
        let every = opened.get("receipt_beat").and_then(Value::as_f64).filter(|&it| it > 0.0 && it <= 3600.0);
        let (bytes, (answer, asked)) = (Arc::new(AtomicU64::new(0)), oneshot::channel());
        let task = tokio::spawn(hold_receipt(place, every, bytes.clone(), asked));
        Some(Receipt { bytes, answer, task })
    }
}

async fn hold_receipt(
    place: Place,
    every: Option<f64>,
    bytes: Arc<AtomicU64>,
    mut asked: oneshot::Receiver<Value>,
) {
    let Ok(mut end) = place.open("write").await else { return };
    let mut beats = every.map(|seconds| interval(Duration::from_secs_f64(seconds)));
    let answer = loop {
        let beat = async {
            match &mut beats {
                Some(beats) => drop(beats.tick().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            answer = &mut asked => break answer,
            () = beat => {
                let beat = receipt_frame(json!({"beat": {"bytes": bytes.load(Relaxed)}}));
                if end.send(beat).await.is_err() {
                    return;
                }
            }
        }
    };
    if let Ok(answer) = answer {
        if end.send(receipt_frame(answer)).await.is_ok() {
            end.close("receipt").await;
        }
    }
}

async fn answer_receipt(receipt: Receipt, totals: Map<String, Value>, answer: Answer) {
    let mut body = Map::new();
    body.insert("committed".into(), answer.is_ok().into());
    body.extend(totals);
    if let Err((code, reason)) = answer {
        body.extend(code.map(|code| ("code".into(), code.into())));
        body.insert("reason".into(), printable(&reason).into());
    }
    let Receipt { answer, mut task, .. } = receipt;
    let _ = answer.send(Value::Object(body));
    if timeout_at(Instant::now() + RECEIPT_WITHIN, &mut task).await.is_err() {
        task.abort();
    }
}

fn receipt_frame(receipt: Value) -> Message {
    Message::text(json!({"iii": {"v": 1, "receipt": receipt}}).to_string())
}

/// Everything here may be moved between threads, as handlers are.
const _: fn() = || {
    fn sends<T: Send>(_: &T) {}
    fn of(sealed: Sealed, verified: Verified) -> impl Future<Output = ()> + Send {
        sends(&sealed);
        sends(&verified);
        async move {
            let _ = sealed.close().await;
            let _ = verified.finish(Ok::<(), Error>(())).await;
        }
    }
    let _ = of;
};
