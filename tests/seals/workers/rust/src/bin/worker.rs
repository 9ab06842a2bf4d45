//! A worker of the Rust SDK with seals and without: `worker URL PREFIX`; see worker.py.
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt;
use iii_sdk::channels::{extract_channel_refs, ChannelReader, ChannelWriter, StreamChannelRef};
use iii_sdk::{register_worker, Error, InitOptions, RegisterFunction};
use iii_seal::{sealed, verified, Sealed, Verified};
use serde_json::{json, Value};

/// What a handler fails with: its own words, or a stream's.
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<iii_seal::Error> for Failed {
    fn from(error: iii_seal::Error) -> Self {
        Failed(error.to_string())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed(error.to_string())
    }
}

fn end(data: &Value, key: &str) -> StreamChannelRef {
    let refs = extract_channel_refs(data);
    refs.into_iter().find(|(path, _)| path == key).expect("a ref").1
}

fn seconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap_or(0.0))
}

type Messages = Arc<Mutex<Vec<String>>>;

fn heard() -> (Messages, impl FnMut(String) + Send + Sync + Clone) {
    let messages = Messages::default();
    let to = messages.clone();
    (messages, move |text| to.lock().unwrap().push(text))
}

fn opened(url: &str, data: &Value) -> (Messages, Verified) {
    let (messages, hear) = heard();
    let mut source = verified(url, &end(data, "stdin")).on_message(hear);
    if data["options"]["unsealed"] == "accept" {
        source = source.accept_unsealed();
    }
    if data["options"]["peer_timeout"].is_number() {
        source = source.peer_timeout(seconds(&data["options"]["peer_timeout"]));
    }
    (messages, source)
}

async fn read(data: &Value, source: &mut Verified, messages: &Messages) -> Result<Value, Failed> {
    let mut bytes = 0;
    while let Some(chunk) = source.next().await {
        if bytes == 0 {
            tokio::time::sleep(seconds(&data["pause"])).await;
        }
        bytes += chunk?.len() as u64;
        if data["leave_after"].as_u64().is_some_and(|limit| bytes >= limit) {
            break;
        }
    }
    let messages = messages.lock().unwrap().clone();
    Ok(json!({"bytes": bytes, "messages": messages, "mode": source.mode()}))
}

async fn keep(data: &Value, source: &mut Verified, messages: &Messages) -> Result<Value, Failed> {
    let result = read(data, source, messages).await?;
    tokio::time::sleep(seconds(&data["commit"])).await;
    match data["fail"].as_str() {
        Some(words) => Err(Failed(words.into())),
        None => Ok(result),
    }
}

/// Either kind of writer.
enum Out {
    Sealed(Sealed),
    Plain(ChannelWriter),
}

impl Out {
    async fn write(&mut self, data: &[u8]) -> Result<(), Failed> {
        match self {
            Out::Sealed(out) => out.write(data).await?,
            Out::Plain(out) => out.write(data).await?,
        }
        Ok(())
    }

    async fn send_message(&mut self, text: &str) -> Result<(), Failed> {
        match self {
            Out::Sealed(out) => out.send_message(text).await?,
            Out::Plain(out) => out.send_message(text).await?,
        }
        Ok(())
    }
}

async fn write(data: &Value, out: &mut Out) -> Result<(), Failed> {
    for item in data["items"].as_array().unwrap_or(&vec![]) {
        let payload = item[1].as_str().unwrap();
        if item[0] == "text" {
            out.send_message(payload).await?;
        } else {
            let bytes = (0..payload.len()).step_by(2).map(|at| u8::from_str_radix(&payload[at..at + 2], 16).unwrap());
            out.write(&bytes.collect::<Vec<_>>()).await?;
        }
    }
    let (zeros, mut left) = (vec![0; 1 << 20], data["bytes"].as_u64().unwrap_or(0) as usize);
    while left > 0 {
        let part = left.min(zeros.len());
        out.write(&zeros[..part]).await?;
        left -= part;
    }
    for tick in 0..data["ticks"].as_u64().unwrap_or(0) {
        out.write(format!("{tick}\n").as_bytes()).await?;
        tokio::time::sleep(Duration::from_secs_f64(data["every"].as_f64().unwrap_or(1.0))).await;
    }
    match data["fail"].as_str() {
        Some(words) => Err(Failed(words.into())),
        None => Ok(()),
    }
}

async fn produce(url: String, data: Value) -> Result<Value, Failed> {
    let mut out = sealed(&url, &end(&data, "stdout")).mode(data["mode"].as_str().unwrap_or("bytes"));
    if let Some(digest) = data["options"]["digest"].as_str() {
        out = out.digest(digest);
    }
    let mut out = Out::Sealed(out);
    let within = data["within"].as_f64().map_or(Duration::MAX, Duration::from_secs_f64);
    let late = |_| Err(Failed("too late".into()));
    let result = tokio::time::timeout(within, write(&data, &mut out)).await.unwrap_or_else(late);
    let Out::Sealed(out) = out else { unreachable!() };
    out.finish(result).await?;
    Ok(Value::Null)
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (url, prefix) = (arguments[1].clone(), arguments[2].clone());
    std::env::set_var("III_WORKER_NAME", format!("{prefix}-seals"));
    let worker = register_worker(&url, InitOptions::default());
    let register = |name: &str, handler: fn(String, Value) -> Answer| {
        let url = url.clone();
        let function = RegisterFunction::new_async(move |data: Value| {
            let answer = handler(url.clone(), data);
            async move { answer.await.map_err(|Failed(words)| Error::Handler(words)) }
        });
        worker.register_function(&format!("{prefix}::{name}"), function);
    };
    register("count", |url, data| answer(async move {
        let (messages, mut source) = opened(&url, &data);
        read(&data, &mut source, &messages).await
    }));
    register("keep", |url, data| answer(async move {
        let (messages, mut source) = opened(&url, &data);
        let result = keep(&data, &mut source, &messages).await;
        source.finish(result).await
    }));
    register("plain_count", |url, data| answer(async move {
        let source = ChannelReader::new(&url, &end(&data, "stdin"));
        let (messages, hear) = heard();
        let hear = Mutex::new(hear);
        source.on_message(move |text| (*hear.lock().unwrap())(text)).await;
        let mut bytes = 0;
        while let Some(chunk) = source.next_binary().await? {
            bytes += chunk.len();
        }
        let messages = messages.lock().unwrap().clone();
        Ok(json!({"bytes": bytes, "messages": messages, "mode": null}))
    }));
    register("produce", |url, data| answer(async move {
        if data["later"] == true {
            tokio::spawn(produce(url, data));
            return Ok(Value::Null);
        }
        produce(url, data).await
    }));
    register("plain_produce", |url, data| answer(async move {
        let mut out = Out::Plain(ChannelWriter::new(&url, &end(&data, "stdout")));
        write(&data, &mut out).await?;
        let Out::Plain(out) = out else { unreachable!() };
        out.close().await?;
        Ok(Value::Null)
    }));
    register("upper", |url, data| answer(async move {
        let mut source = verified(&url, &end(&data, "stdin"));
        let mut out = sealed(&url, &end(&data, "stdout"));
        while let Some(chunk) = source.next().await {
            out.write(&chunk?.to_ascii_uppercase()).await?;
        }
        out.close().await?;
        Ok(Value::Null)
    }));
    std::future::pending::<()>().await
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Value, Failed>> + Send>>;

fn answer(of: impl Future<Output = Result<Value, Failed>> + Send + 'static) -> Answer {
    Box::pin(of)
}
