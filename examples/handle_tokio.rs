//! A node in a task of a tokio runtime: one publishes a value under its key, and another follows its versions.
//!
//! It runs on a private network on loopback; in the public DHT the nodes would be `Dht::builder().spawn_tokio()`.
//!
//! ```text
//! cargo run --features tokio --example handle_tokio
//! ```

use std::error::Error;
use std::time::Duration;

use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::net::{Builder, Testnet};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let testnet = Testnet::start(10, Builder::spawn_tokio)?;
    testnet.ready().await?;
    let (publisher, reader) = (testnet.builder().spawn_tokio()?, testnet.builder().spawn_tokio()?);
    let (secret, salt) = (SecretKey::from_bytes(&[9; 32]), Salt::new(b"motd")?);

    for text in ["Hello", "Hello again"] {
        // The next version is one above the newest that nodes store.
        let stored = publisher.put_mutable_string(&secret, salt, text.as_bytes()).await?.stored()?;
        println!("{stored:?}");
    }

    // Half a second is enough here; slow nodes are not waited for.
    let lookup = reader.get_mutable(secret.public(), salt);
    let newest = lookup.newest_within(Duration::from_millis(500)).await?;
    let text = newest.as_ref().and_then(Item::as_string);
    println!("{:?}", text.map(String::from_utf8_lossy));
    assert_eq!(text, Some(&b"Hello again"[..]));
    Ok(())
}
