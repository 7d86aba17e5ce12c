//! Commands on stdin, each answered by one JSON line on stdout, for nodes that stay.

use std::error::Error;
use std::io::{self, BufRead as _};
use std::thread;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::print;

pub(crate) type Answer = Result<Value, Box<dyn Error>>;

/// Answers the words of each line until stdin ends; `None` means an unknown command.
pub(crate) async fn serve(mut answer: impl AsyncFnMut(&[&str]) -> Option<Answer>) {
    let (sender, mut lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let words: Vec<_> = line.split_whitespace().collect();
        print(&match answer(&words).await {
            Some(Ok(value)) => value,
            Some(Err(error)) => failed(error),
            None => failed("no such command"),
        });
    }
}

pub(crate) fn peers(found: impl IntoIterator<Item = impl ToString>) -> Value {
    let found: Vec<_> = found.into_iter().map(|addr| addr.to_string()).collect();
    json!({"event": "peers", "peers": found})
}

fn failed(why: impl ToString) -> Value {
    json!({"event": "failed", "why": why.to_string()})
}
