//! Importing: the tar of a root file system becomes an image of one layer, with a config made for it.

use std::io::Read;

use onggi_image::{Config, Digest, History, Platform, RootFs, apply_change};

use crate::Store;
use crate::act::Act;
use crate::error::Error;
use crate::layers::{self, Expected};
use crate::load::{Brought, commit};
use crate::types::{ImportOptions, Progress};

pub(crate) fn import(
    store: &Store,
    stream: &mut dyn Read,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    if options.name.as_ref().is_some_and(|name| name.digest().is_some()) {
        return Err(Error::TagWithDigest);
    }
    let created = options.created.clone().unwrap_or_else(|| jiff::Timestamp::now().to_string());
    let mut config = config(&created, options);
    // A wrong change is found before a large tar has been read.
    for change in &options.changes {
        apply_change(&mut config, change).map_err(Error::image("--change"))?;
    }
    let act = Act::begin(&store.layout, "import")?;
    let expected = Expected {
        what: "the root file system",
        blob: None,
        diff_id: None,
        total: options.total,
        keep: false,
        ceiling: store.ceiling,
    };
    let layer = layers::ingest(store, &act, stream, &expected, progress)?;
    config.rootfs.diff_ids.push(layer.diff_id.clone());
    let raw_config =
        serde_json::to_vec(&config).map_err(|error| Error::BadArchive { reason: error.to_string() })?;
    let names = options.name.iter().cloned().collect();
    commit(store, &act, &Brought::with_plain_manifest(raw_config, config, vec![layer], names)?)
}

fn config(created: &str, options: &ImportOptions) -> Config {
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    Config {
        created: Some(created.to_owned()),
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        os_version: platform.os_version,
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
        history: vec![History {
            created: Some(created.to_owned()),
            comment: if options.message.is_empty() { "Imported".to_owned() } else { options.message.clone() },
            ..History::default()
        }],
        comment: options.message.clone(),
        ..Config::default()
    }
}
