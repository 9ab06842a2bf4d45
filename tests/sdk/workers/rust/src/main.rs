//! A worker of the crates.io SDK, doing what its users do. Run with the engine's URL and the worker's name.

use iii_sdk::channels::{extract_channel_refs, ChannelReader, ChannelWriter};
use iii_sdk::helpers::create_channel;
use iii_sdk::protocol::TriggerRequest;
use iii_sdk::{register_worker, Error, InitOptions, RegisterFunction};
use serde_json::{json, Value};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};

fn reader(url: &str, data: &Value, path: &str) -> ChannelReader {
    let refs = extract_channel_refs(data);
    let (_, found) = refs.iter().find(|(at, _)| at == path).expect("a ref");
    ChannelReader::new(url, found)
}

fn writer(url: &str, data: &Value, path: &str) -> ChannelWriter {
    let refs = extract_channel_refs(data);
    let (_, found) = refs.iter().find(|(at, _)| at == path).expect("a ref");
    ChannelWriter::new(url, found)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let (url, name) = (arguments[1].clone(), arguments[2].clone());
    let options = InitOptions { ..InitOptions::default() };
    std::env::set_var("III_WORKER_NAME", &name);
    let worker = register_worker(&url, options);

    worker.register_function(
        &format!("{name}::echo"),
        RegisterFunction::new_async(|data: Value| async move { Ok::<_, Error>(data) }),
    );
    worker.register_function(
        &format!("{name}::fail"),
        RegisterFunction::new_async(|data: Value| async move {
            Err::<Value, _>(Error::Handler(data["why"].as_str().unwrap_or("").into()))
        }),
    );
    let at = url.clone();
    worker.register_function(
        &format!("{name}::upper"),
        RegisterFunction::new_async(move |data: Value| {
            let (input, output) = (reader(&at, &data, "in"), writer(&at, &data, "out"));
            async move {
                let mut bytes = 0;
                while let Some(chunk) = input.next_binary().await? {
                    bytes += chunk.len();
                    output.write(&chunk.to_ascii_uppercase()).await?;
                }
                output.close().await?;
                Ok::<_, Error>(json!({ "bytes": bytes }))
            }
        }),
    );
    let at = url.clone();
    worker.register_function(
        &format!("{name}::digest"),
        RegisterFunction::new_async(move |data: Value| {
            let input = reader(&at, &data, "deep.list[0].reader");
            async move {
                let (mut found, mut bytes) = (Sha256::new(), 0);
                while let Some(chunk) = input.next_binary().await? {
                    bytes += chunk.len();
                    found.update(&chunk);
                }
                Ok::<_, Error>(json!({ "bytes": bytes, "sha256": hex(&found.finalize()) }))
            }
        }),
    );
    let at = url.clone();
    worker.register_function(
        &format!("{name}::produce"),
        RegisterFunction::new_async(move |data: Value| {
            let output = writer(&at, &data, "writer");
            async move {
                let mut left = data["bytes"].as_u64().unwrap_or(0) as usize;
                let block: Vec<u8> = (0..1usize << 20).map(|index| (index % 251) as u8).collect();
                let mut found = Sha256::new();
                while left > 0 {
                    let chunk = &block[..left.min(block.len())];
                    output.write(chunk).await?;
                    found.update(chunk);
                    left -= chunk.len();
                }
                output.close().await?;
                Ok::<_, Error>(json!({ "sha256": hex(&found.finalize()) }))
            }
        }),
    );
    let at = url.clone();
    worker.register_function(
        &format!("{name}::progress"),
        RegisterFunction::new_async(move |data: Value| {
            let output = writer(&at, &data, "writer");
            async move {
                for step in 0..3 {
                    let message = json!({ "type": "progress", "step": step }).to_string();
                    output.send_message(&message).await?;
                    output.write(step.to_string().as_bytes()).await?;
                }
                output.send_message(r#"{"type":"complete"}"#).await?;
                output.close().await?;
                Ok::<_, Error>(Value::Null)
            }
        }),
    );
    let at = url.clone();
    worker.register_function(
        &format!("{name}::listen"),
        RegisterFunction::new_async(move |data: Value| {
            let input = reader(&at, &data, "reader");
            async move {
                let messages = Arc::new(Mutex::new(Vec::<String>::new()));
                let heard = messages.clone();
                input.on_message(move |text| heard.lock().unwrap().push(text)).await;
                let body = String::from_utf8(input.read_all().await?).unwrap_or_default();
                let messages = messages.lock().unwrap().clone();
                Ok::<_, Error>(json!({ "messages": messages, "body": body }))
            }
        }),
    );
    let (at, client) = (url.clone(), worker.clone());
    worker.register_function(
        &format!("{name}::delegate"),
        RegisterFunction::new_async(move |data: Value| {
            let (input, client) = (reader(&at, &data, "in"), client.clone());
            async move {
                let channel = create_channel(&client, None).await?;
                let payload = json!({ "deep": { "list": [{ "reader": channel.reader_ref }] } });
                let request = TriggerRequest::new(data["to"].as_str().unwrap_or(""), payload);
                let call = tokio::spawn(async move { client.trigger(request).await });
                while let Some(chunk) = input.next_binary().await? {
                    channel.writer.write(&chunk).await?;
                }
                channel.writer.close().await?;
                let result: Value = call.await.expect("the task runs")?;
                Ok::<_, Error>(result)
            }
        }),
    );
    std::future::pending::<()>().await
}
