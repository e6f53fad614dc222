//! Docker's archives from before 1.10: `repositories` names the topmost of a chain of directories, each with a `json`, a `layer.tar` and a
//! parent. There is no config; one is made from the topmost `json`, as Docker itself did when it met such an image.

use onggi_image::{Config, Digest, History, LAYER_LIMIT, Reference, RootFs, legacy_repositories};
use serde_json::{Map, Value};

use super::{Brought, Loading, commit_all};
use crate::error::Error;
use crate::types::Loaded;

pub(super) fn load(loading: &Loading<'_>, repositories: &[u8]) -> Result<Vec<Loaded>, Error> {
    let names = legacy_repositories(repositories).map_err(Error::image("repositories"))?;
    if names.is_empty() {
        return Err(Error::NoImageInArchive);
    }
    loading.can_be_named(names.len())?;
    let brought =
        names.into_iter().map(|(name, top)| bring(loading, name, &top)).collect::<Result<Vec<_>, _>>()?;
    commit_all(loading, brought, &[])
}

fn bring(loading: &Loading<'_>, name: Reference, top: &str) -> Result<Brought, Error> {
    let chain = chain(loading, top)?;
    let mut layers = Vec::new();
    let mut history = Vec::new();
    for (id, json) in chain.iter().rev() {
        layers.push(loading.ingest(&format!("{id}/layer.tar"), None, None)?);
        let text = |key: &str| json.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let command =
            json.get("container_config").and_then(|config| config.get("Cmd")).and_then(Value::as_array);
        let command: Vec<_> = command.into_iter().flatten().filter_map(Value::as_str).collect();
        let created = Some(text("created")).filter(|created| !created.is_empty());
        let (author, comment, created_by) = (text("author"), text("comment"), command.join(" "));
        history.push(History { created, created_by, author, comment, empty_layer: false });
    }
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| layer.diff_id.clone()).collect();
    let raw_config =
        config(chain.into_iter().next().map(|(_, json)| json).unwrap_or_default(), diff_ids, history)?;
    let config = Config::parse(&raw_config).map_err(Error::image(format!("{top}/json")))?;
    Brought::with_plain_manifest(raw_config, config, layers, vec![name])
}

/// The topmost `json` without what described its place in the chain, with the layers and the history in its stead.
fn config(
    mut json: Map<String, Value>,
    diff_ids: Vec<Digest>,
    history: Vec<History>,
) -> Result<Vec<u8>, Error> {
    for key in ["id", "parent", "parent_id", "layer_id", "Size", "throwaway"] {
        json.remove(key);
    }
    let failed = |error: serde_json::Error| Error::BadArchive { reason: error.to_string() };
    let rootfs = RootFs { kind: "layers".to_owned(), diff_ids };
    json.insert("rootfs".to_owned(), serde_json::to_value(rootfs).map_err(failed)?);
    json.insert("history".to_owned(), serde_json::to_value(history).map_err(failed)?);
    serde_json::to_vec(&json).map_err(failed)
}

/// One layer of the chain: its id and its `json`.
type Link = (String, Map<String, Value>);

/// The chain from the topmost layer down.
fn chain(loading: &Loading<'_>, top: &str) -> Result<Vec<Link>, Error> {
    let mut chain = Vec::new();
    let mut next = Some(top.to_owned());
    while let Some(id) = next {
        if chain.len() == LAYER_LIMIT {
            return Err(Error::BadArchive { reason: format!("the chain of {top} has no end") });
        }
        let bytes = loading.required(&format!("{id}/json"))?;
        let json: Map<String, Value> = serde_json::from_slice(&bytes)
            .map_err(|error| Error::BadArchive { reason: format!("{id}/json cannot be read: {error}") })?;
        next =
            json.get("parent").and_then(Value::as_str).filter(|parent| !parent.is_empty()).map(str::to_owned);
        chain.push((id, json));
    }
    Ok(chain)
}
