//! `iii-bench-peer write|read URL CHANNEL_ID ACCESS_KEY [lines]`: stdin into a channel, or a channel to stdout.
//!
//! As little as a program with the SDK can do: blocking reads and writes of 1 MiB at most, no digest.
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;

use iii_sdk::channel::{ChannelReader, ChannelWriter, StreamChannelRef};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let end = StreamChannelRef { channel_id: args[3].clone(), access_key: args[4].clone(), ..Default::default() };
    let lines = args.get(5).is_some();
    if args[1] == "write" {
        let writer = ChannelWriter::new(&args[2], &end);
        let mut input = ManuallyDrop::new(unsafe { File::from_raw_fd(0) });
        if lines {
            for line in BufReader::new(&mut *input).lines() {
                writer.send_message(&line?).await?;
            }
        } else {
            let mut buffer = vec![0; 1 << 20];
            loop {
                match input.read(&mut buffer)? {
                    0 => break,
                    count => writer.write(&buffer[..count]).await?,
                }
            }
        }
        writer.close().await?;
    } else {
        let reader = ChannelReader::new(&args[2], &end);
        let mut output = ManuallyDrop::new(unsafe { File::from_raw_fd(1) });
        if lines {
            reader.on_message(|text| println!("{text}")).await;
        }
        while let Some(chunk) = reader.next_binary().await? {
            output.write_all(&chunk)?;
        }
    }
    Ok(())
}
