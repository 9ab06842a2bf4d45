//! `vectors FILE`: what iii-seal says of the vectors, as JSON.
use std::time::Duration;

use iii_seal::{Counter, Verifier};
use serde_json::{json, Value};

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn pairs(frames: &Value) -> impl Iterator<Item = (bool, &str)> {
    let frames = frames.as_array().unwrap().iter();
    frames.map(|frame| (frame[0] == "binary", frame[1].as_str().unwrap()))
}

fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let streams: Vec<Value> = file["streams"].as_array().unwrap().iter().map(|vector| {
        let mut verifier = Verifier::new(vector["require_seal"] != true, vector["allow_empty"] == true);
        let mut delivered = Vec::new();
        for (index, (binary, payload)) in pairs(&vector["frames"]).enumerate() {
            if if binary { verifier.chunk(&bytes(payload)) } else { verifier.message(payload) } {
                delivered.push(index);
            }
        }
        let silent_for = (vector["end"] == "silence").then_some(Duration::from_secs(60));
        let verdict = verifier.verdict(vector["end"] == "close", silent_for);
        let (exit, text) = verdict.err().map_or((0, String::new()), |error| (error.exit_status(), error.to_string()));
        let (verified, totals) = (verifier.verified(), verifier.totals());
        json!({"exit": exit, "text": text, "verified": verified, "delivered": delivered, "totals": totals})
    }).collect();
    let totals: Vec<Value> = file["totals"]["vectors"].as_array().unwrap().iter().map(|vector| {
        let of = |records| {
            let mut counter = Counter::new(file["totals"]["digest"].as_str().unwrap(), records).unwrap();
            for (binary, payload) in pairs(&vector["frames"]) {
                if binary { counter.chunk(&bytes(payload)) } else { counter.message(payload.as_bytes()) }
            }
            counter.totals()
        };
        json!({"records": of(true), "jsonl": of(false)})
    }).collect();
    println!("{}", json!({"streams": streams, "totals": totals}));
}
