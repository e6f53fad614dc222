//! A client without credentials, and servers that are asked as registries are.
#![allow(dead_code, unreachable_pub)] // each test program has a copy and uses a part

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use onggi_image::Reference;
use onggi_registry::{AuthFiles, Client, Config, Unwatched};
use onggi_testkit::http::{Request, Server};

/// Three attempts, with no pause between them to speak of.
pub fn config(silence: Duration) -> Config {
    Config { silence, attempts: 3, first_pause: Duration::from_millis(1), ..Config::default() }
}

pub fn client(config: Config) -> Client {
    let nowhere = PathBuf::from("/nonexistent/config.json");
    let files = AuthFiles { read: vec![nowhere.clone()], write: nowhere };
    Client::new(config, files, Arc::new(Unwatched))
}

pub fn name(server: &Server) -> Reference {
    Reference::parse(&format!("{}/team/app:1", server.host())).expect("a name")
}

/// Answers everything but the look whether it is TLS, which is no request of HTTP.
pub fn serving(answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Server {
    Server::new(move |request, stream| {
        if request.target.starts_with("/v2/") {
            answer(request, stream);
        }
    })
}
