//! A push whose connection breaks in the middle of a layer, to the registry that most people run. That one (docker-registry 2.8) forgets an upload of which
//! a request was cut off: it answers 404 to who asks how much it has. So the layer is sent from its beginning, and arrives whole; with a registry that
//! remembers, only the rest is sent (`registry: hostile::an_upload_goes_on_where_it_broke`).

mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{JoinHandle, spawn};

use common::fresh;
use onggi_testkit::{Compression, ImageArchive, Registry, TestEnv};
use serde_json::json;

const MEBIBYTE: u64 = 1 << 20;
const LAYER: u64 = 12 * MEBIBYTE;
/// How much of it passes before a connection is cut.
const AFTER: u64 = 3 * MEBIBYTE;

/// Passes connections on, and cuts some of them after so many bytes of the client's. It ends when it is dropped.
struct Cutting {
    host: String,
    /// Bytes that clients have sent through it.
    sent: Arc<AtomicU64>,
    /// How many more it is to cut.
    cuts: Arc<AtomicUsize>,
    ends: Arc<AtomicBool>,
    accepts: Option<JoinHandle<()>>,
}

impl Cutting {
    fn new(to: &str, cuts: usize, after: u64) -> Cutting {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("its address").to_string();
        let (sent, cuts) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicUsize::new(cuts)));
        let ends = Arc::new(AtomicBool::new(false));
        let (to, counted, left, ended) = (to.to_owned(), sent.clone(), cuts.clone(), ends.clone());
        let accept = move || {
            let mut passing = Vec::new();
            for client in listener.incoming().flatten() {
                if ended.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(server) = TcpStream::connect(&to) else { continue };
                let (counted, left) = (counted.clone(), left.clone());
                let back = (server.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
                passing.push(spawn(move || pass(back.0, back.1, |_| false)));
                let mut passed = 0;
                let cut = move |count| {
                    counted.fetch_add(count, Ordering::SeqCst);
                    passed += count;
                    let take = |left: usize| left.checked_sub(1);
                    passed > after && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
                };
                passing.push(spawn(move || pass(client, server, cut)));
            }
            for thread in passing {
                thread.join().expect("it passes on");
            }
        };
        Cutting { host, sent, cuts, ends, accepts: Some(spawn(accept)) }
    }
}

impl Drop for Cutting {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = TcpStream::connect(&self.host);
        if let Some(thread) = self.accepts.take() {
            let _ = thread.join();
        }
    }
}

/// Passes bytes on until the end, or until `cut` says so of a number of them.
fn pass(mut from: TcpStream, mut to: TcpStream, mut cut: impl FnMut(u64) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..count]).is_err() || cut(count as u64) {
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// An image with a layer that nothing makes smaller.
fn image(onggi: &TestEnv) -> String {
    let (base, top) = (onggi.file("base"), onggi.file("top"));
    fs::create_dir_all(&base).expect("a directory");
    fs::create_dir_all(&top).expect("a directory");
    fs::write(base.join("small"), "small\n").expect("a file");
    let mut random = fs::File::open("/dev/urandom").expect("the device").take(LAYER);
    let mut file = fs::File::create(top.join("large")).expect("a file");
    std::io::copy(&mut random, &mut file).expect("room for it");
    let image = ImageArchive::new("large:1", json!({})).layer_of(&base).layer_of(&top);
    image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {}).display().to_string()
}

fn arrives(onggi: &TestEnv, registry: &Registry, cuts: usize) {
    let proxy = Cutting::new(registry.host(), cuts, AFTER);
    let name = format!("{}/large:{cuts}", proxy.host);
    onggi.ok(["tag", "large:1", &name]);
    let said = onggi.ok(["push", &name]);
    let sent = proxy.sent.load(Ordering::SeqCst);
    assert_eq!(proxy.cuts.load(Ordering::SeqCst), 0, "not every connection was cut: {said}");
    // What each cut has taken with it, and no more.
    let most = LAYER + cuts as u64 * (AFTER + MEBIBYTE) + MEBIBYTE;
    assert!((LAYER + AFTER..most).contains(&sent), "{sent} bytes were sent for {LAYER}: {said}");

    // And it is whole.
    onggi.ok(["rmi", &name]);
    let direct = format!("{}/large:{cuts}", registry.host());
    onggi.ok(["pull", &direct]);
    let layers = |name: &str| onggi.ok(["image", "inspect", "--format", "{{json .RootFS.Layers}}", name]);
    assert_eq!(layers(&direct), layers("large:1"));
    onggi.ok(["rmi", &direct]);
}

/// The layer is compressed as it is sent: nobody knows its length before.
#[test]
fn a_stream_arrives_although_its_connections_break() {
    let (onggi, registry) = (fresh(), Registry::plain());
    onggi.ok(["load", "-q", "-i", &image(&onggi)]);
    arrives(&onggi, &registry, 2);
}

/// The layer is kept as it came.
#[test]
fn a_blob_arrives_although_its_connections_break() {
    let (onggi, registry) = (fresh(), Registry::plain());
    let image = image(&onggi);
    let load = onggi.command(["load", "-q", "-i", &image]).env("ONGGI_STORE_KEEP_BLOBS", "always");
    load.success();
    arrives(&onggi, &registry, 3);
}
