//! Images from registries: what is wanted, from whom, which layers are missing; then the layers side by side, each in one pass into the store.
//!
//! The decisions of the protocol are the registry's room's, verification is the store's. Here they meet, and here it is seen to that a pull
//! that fails or is interrupted leaves nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use onggi_image::{Descriptor, Digest, Platform, Reference, media_type};
use onggi_registry::{
    Access, AuthFiles, Client, Config, Credential, Proxies, RemoteImage, Repository, Source, Watch,
};
use onggi_settings::Settings;
use onggi_store::{Image, Progress, Received, Receiving, Refetch, Report};

use crate::Engine;
use crate::error::Error;

/// Layers that are fetched at once, as Docker does.
const AT_ONCE: usize = 3;
/// How often a pull looks whether another has fetched the layer that both want.
const TICK: Duration = Duration::from_millis(100);
/// Addresses of a layer that are tried: they are the image's words.
const MOST_ADDRESSES: usize = 4;

/// Told how a pull or push goes, and asked whether to go on. From several threads at once.
pub trait TransferWatch: Watch {
    /// A layer, by the digest that the manifest has for it, has come so far.
    fn layer(&self, blob: &Digest, step: LayerStep) {
        let _ = (blob, step);
    }

    /// What a person should know, although it goes on.
    fn note(&self, text: &str) {
        let _ = text;
    }
}

impl TransferWatch for onggi_registry::Unwatched {}

/// How far a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerStep {
    /// It is wanted, and its turn will come.
    Queued,
    /// Another pull fetches it.
    Waiting,
    /// It is here (or, in a push, there) already.
    Exists,
    Moving {
        done: u64,
        total: u64,
    },
    /// All of it has come, verified.
    Done,
    /// The registry has taken it over from this other repository of its own.
    Mounted {
        from: String,
    },
}

/// What a pull has brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What the name stands for at the registry: the digest of the index or manifest.
    pub digest: Digest,
    /// The image's id.
    pub id: Digest,
    pub platform: Platform,
    /// The name stood for the same before.
    pub up_to_date: bool,
}

impl Engine {
    /// Brings an image from its registry, or from a mirror of it. `platform`: one that was asked for, in place of the host's.
    ///
    /// # Errors
    /// [`Error::Registry`], [`Error::Store`]; then nothing of the image exists that was not there before.
    pub fn pull(
        &self,
        name: &Reference,
        platform: Option<&Platform>,
        watch: Arc<dyn TransferWatch>,
    ) -> Result<Pulled, Error> {
        self.bring(name, platform, watch).map_err(|error| error.of_transfer("pull", name))
    }

    fn bring(
        &self,
        name: &Reference,
        platform: Option<&Platform>,
        watch: Arc<dyn TransferWatch>,
    ) -> Result<Pulled, Error> {
        let ended = Arc::new(Ended { watch: Arc::clone(&watch), failed: AtomicBool::new(false) });
        let client = client(&self.settings, Arc::clone(&ended) as Arc<dyn Watch>);
        let kept = kept_name(name);
        let known = self.store.resolve(&kept.to_string()).ok();
        if let Some(pulled) =
            known.as_ref().and_then(|known| self.is_up_to_date(&client, known, &kept, platform))
        {
            return Ok(pulled);
        }
        let (sources, image) = find(&client, name, platform, &*watch)?;
        let name = kept;
        let index = image.raw_index.as_ref().map(|bytes| Digest::of(bytes));
        let manifest = Digest::of(&image.raw_manifest);
        let up_to_date =
            known.is_some_and(|known| known.manifest_digest == manifest && known.index_digest == index);

        let receiving = self.store.receive()?;
        let missing = missing(&receiving, &image, up_to_date, &*watch)?;
        let documents = Received {
            raw_config: &image.raw_config,
            raw_manifest: &image.raw_manifest,
            raw_index: image.raw_index.as_deref(),
            name: &name,
            origin: &name,
        };
        let fetching = Fetching { sources: &sources, receiving: &receiving, ended: &ended };
        fetching.all(missing, || Ok(receiving.documents(&documents)?))?;
        onggi_sys::fault::point("engine.pull.layers-here");
        let id = receiving.commit(&documents)?;
        self.tell_pulled(&name);
        Ok(Pulled { digest: image.digest, id, platform: image.config.platform(), up_to_date })
    }

    /// Checks the store and mends it. Single layers and configs that are lost come again from the registry that their image came from.
    ///
    /// # Errors
    /// As [`onggi_store::Store::check`]; a registry that does not answer is named in the report.
    pub fn repair_store(&self) -> Result<Report, Error> {
        let client = client(&self.settings, Arc::new(onggi_registry::Unwatched));
        Ok(self.store.repair_from(&Origins { client })?)
    }

    /// Whether an image is what its name stands for, by one request without a body: registries that count what is fetched do not count those.
    /// Whatever keeps that from being known is no failure: the pull then finds out.
    fn is_up_to_date(
        &self,
        client: &Client,
        known: &Image,
        name: &Reference,
        platform: Option<&Platform>,
    ) -> Option<Pulled> {
        let wanted = platform.cloned().unwrap_or_else(Platform::host);
        let is_here = known.origin.as_ref() == Some(name)
            && !known.undigested
            && known.config.platform().agrees_with(&wanted)
            && self.store.layer_sizes(known).is_ok();
        let source = client.sources(name).ok()?.into_iter().next().filter(|_| is_here)?;
        let repository = client.repository_at(&source).ok()?;
        let digest = repository.impatient().manifest_digest(&asked(name)).ok()??;
        if digest != *known.index_digest.as_ref().unwrap_or(&known.manifest_digest) {
            return None;
        }
        // A name that is gone or stands for another image by now has to be given again.
        if !self.store.ask_for(name, &known.id).ok()? {
            return None;
        }
        self.tell_pulled(name);
        let (id, platform) = (known.id.clone(), known.config.platform());
        Some(Pulled { digest, id, platform, up_to_date: true })
    }

    fn tell_pulled(&self, name: &Reference) {
        let attributes = BTreeMap::from([("name".to_owned(), name.familiar_repository())]);
        self.tell("image", "pull", &name.familiar(), attributes);
    }

    /// Shows credentials to a registry.
    ///
    /// # Errors
    /// [`Error::Registry`] if it does not take them.
    pub fn log_in(
        &self,
        registry: &str,
        credential: Credential,
        watch: Arc<dyn TransferWatch>,
    ) -> Result<(), Error> {
        Ok(client(&self.settings, watch).with_credential(registry, credential).log_in(registry)?)
    }

    /// All tags of a repository at its registry.
    ///
    /// # Errors
    /// [`Error::Registry`].
    pub fn remote_tags(&self, name: &Reference, watch: Arc<dyn TransferWatch>) -> Result<Vec<String>, Error> {
        let client = client(&self.settings, watch);
        let tags = client.repository(name, Access::Pull).and_then(|repository| repository.tags());
        tags.map_err(|error| Error::from(error).of_transfer("pull", name))
    }
}

/// The registries that images came from, for a repair.
#[derive(Debug)]
struct Origins {
    client: Client,
}

impl Refetch for Origins {
    fn blob(
        &self,
        from: &Reference,
        blob: &Descriptor,
        take: &mut dyn FnMut(&mut dyn Read) -> Result<(), onggi_store::Error>,
    ) -> Result<(), String> {
        let repository = self.client.repository(from, Access::Pull).map_err(|error| error.to_string())?;
        let mut stream = repository.blob(&blob.digest, blob.size);
        take(&mut stream).map_err(|error| match stream.failure() {
            Some(failure) => failure.to_string(),
            None => error.to_string(),
        })
    }

    fn manifest(&self, from: &Reference, digest: &Digest) -> Result<Vec<u8>, String> {
        let repository = self.client.repository(from, Access::Pull).map_err(|error| error.to_string())?;
        let fetched = repository.manifest(&digest.to_string()).map_err(|error| error.to_string())?;
        Ok(fetched.bytes)
    }
}

/// A client as the settings and the environment want it.
pub(crate) fn client(settings: &Settings, watch: Arc<dyn Watch>) -> Client {
    let config = Config {
        insecure: settings.registry_insecure.clone(),
        mirrors: settings.registry_mirrors.clone(),
        certificate_directories: settings.certificate_directories.clone(),
        proxies: Proxies::from_environment(),
        ..Config::default()
    };
    Client::new(config, AuthFiles::from_environment(), watch)
}

/// What the pulled image is kept under: with a digest the tag says nothing, as for Docker.
fn kept_name(name: &Reference) -> Reference {
    match name.digest() {
        Some(digest) => name.with_digest(digest),
        None => name.clone(),
    }
}

/// What the registry is asked for.
fn asked(name: &Reference) -> String {
    match (name.digest(), name.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// The image, and the repositories that its layers may come from: the one that had it first, then the rest.
fn find<'c>(
    client: &'c Client,
    name: &Reference,
    platform: Option<&Platform>,
    watch: &dyn TransferWatch,
) -> Result<(Vec<Repository<'c>>, RemoteImage), Error> {
    let reference = asked(name);
    let mut sources: VecDeque<Source> = client.sources(name)?.into();
    loop {
        // The registry itself is the last; there is no way past it.
        let source = sources.pop_front().unwrap_or_else(|| Source::Registry(name.clone()));
        let found = client.repository_at(&source).and_then(|repository| {
            let image = repository.image(&reference, platform)?;
            Ok((repository, image))
        });
        match found {
            Ok((repository, image)) => {
                let mut repositories = vec![repository];
                // Asked only when those before them fail; that one cannot be reached now is no reason to fail.
                repositories.extend(sources.iter().filter_map(|source| client.repository_at(source).ok()));
                return Ok((repositories, image));
            }
            Err(error) if matches!(source, Source::Mirror { .. }) && !watch.is_interrupted() => {
                watch.note(&format!("{source} was passed over: {error}"));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// A layer to fetch.
struct Wanted<'i> {
    layer: &'i Descriptor,
    diff_id: &'i Digest,
}

/// The layers that are not here, each once, and those whose blob nobody has looked into yet. The others stay.
fn missing<'i>(
    receiving: &Receiving<'_>,
    image: &'i RemoteImage,
    up_to_date: bool,
    watch: &dyn TransferWatch,
) -> Result<VecDeque<Wanted<'i>>, Error> {
    let (mut missing, mut seen) = (Vec::new(), HashSet::new());
    for (layer, diff_id) in image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids) {
        // The same layer may be named by several blobs, and each may be another's.
        if !seen.insert((diff_id, &layer.digest, layer.size)) {
            continue;
        }
        if receiving.has_layer(diff_id, (&layer.digest, layer.size))? {
            if !up_to_date {
                watch.layer(&layer.digest, LayerStep::Exists);
            }
            continue;
        }
        watch.layer(&layer.digest, LayerStep::Queued);
        missing.push(Wanted { layer, diff_id });
    }
    // The largest first: begun last it would be alone at the end.
    missing.sort_by_key(|wanted| Reverse(wanted.layer.size));
    Ok(missing.into())
}

/// The caller's watch, and the end of all threads once one has failed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) watch: Arc<dyn TransferWatch>,
    pub(crate) failed: AtomicBool,
}

impl Watch for Ended {
    fn is_interrupted(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.watch.is_interrupted()
    }

    fn retrying(&self, what: &str, pause: Duration, why: &onggi_registry::Error) {
        self.watch.retrying(what, pause, why);
    }

    fn said(&self, program: &str, line: &str) {
        self.watch.said(program, line);
    }

    fn may_ask(&self) -> bool {
        self.watch.may_ask()
    }
}

struct Fetching<'f> {
    sources: &'f [Repository<'f>],
    receiving: &'f Receiving<'f>,
    ended: &'f Ended,
}

impl Fetching<'_> {
    /// Fetches all layers, a few at once, and does `meanwhile`. The first failure ends the others, and is the one that is answered.
    fn all(
        &self,
        wanted: VecDeque<Wanted<'_>>,
        meanwhile: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let threads = wanted.len().min(AT_ONCE);
        let (queue, failure) = (Mutex::new(wanted), Mutex::new(None));
        // A function, since a guard that a `while let` makes is held until the turn's end.
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let failed = |error| {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.ended.failed.store(true, Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(wanted) = next() {
                        if let Err(error) = self.one(&wanted) {
                            return failed(error);
                        }
                    }
                });
            }
            meanwhile().unwrap_or_else(failed);
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn one(&self, wanted: &Wanted<'_>) -> Result<(), Error> {
        let (blob, watch) = (&wanted.layer.digest, &self.ended.watch);
        let mut told = false;
        let _lock = loop {
            if self.ended.is_interrupted() {
                return Err(onggi_registry::Error::Interrupted.into());
            }
            match self.receiving.try_lock_layer(wanted.diff_id)? {
                Some(lock) => break lock,
                None if !told => {
                    told = true;
                    watch.layer(blob, LayerStep::Waiting);
                }
                None => std::thread::sleep(TICK),
            }
        };
        // Another pull may have brought it meanwhile.
        if self.receiving.has_layer(wanted.diff_id, (blob, wanted.layer.size))? {
            watch.layer(blob, LayerStep::Exists);
            return Ok(());
        }
        let mut sources = self.sources.iter().peekable();
        loop {
            let Some(source) = sources.next() else { return Ok(()) };
            match self.fetch(source, wanted) {
                Err(error) if sources.peek().is_some() && !self.ended.is_interrupted() => {
                    watch.note(&format!("{} does not give the layer {blob}: {error}", source.shown()));
                }
                Ok(()) => {
                    watch.layer(blob, LayerStep::Done);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn fetch(&self, source: &Repository<'_>, wanted: &Wanted<'_>) -> Result<(), Error> {
        let Wanted { layer, diff_id } = wanted;
        let progress = LayerProgress { blob: &layer.digest, total: layer.size, ended: self.ended };
        let blob = (&layer.digest, layer.size);
        let receive = |stream: &mut dyn Read| Ok(self.receiving.layer(stream, blob, diff_id, &progress)?);
        match source.fetch_blob(blob.0, blob.1, receive) {
            Err(Error::Registry { source: error })
                if matches!(*error, onggi_registry::Error::BlobUnknown { .. })
                    && media_type::is_foreign_layer(&layer.media_type)
                    && !layer.urls.is_empty() =>
            {
                self.fetch_foreign(source.client(), wanted)
            }
            other => other,
        }
    }

    /// A layer that its maker gives away, and not the registry: from the first of the addresses in the manifest that has it.
    fn fetch_foreign(&self, client: &Client, wanted: &Wanted<'_>) -> Result<(), Error> {
        let Wanted { layer, diff_id } = wanted;
        let progress = LayerProgress { blob: &layer.digest, total: layer.size, ended: self.ended };
        let mut addresses = layer.urls.iter().take(MOST_ADDRESSES).peekable();
        loop {
            let Some(address) = addresses.next() else { return Ok(()) };
            let blob = (&layer.digest, layer.size);
            let fetched: Result<(), Error> = client.fetch_foreign(address, layer.size, |stream| {
                Ok(self.receiving.layer(stream, blob, diff_id, &progress)?)
            });
            match fetched {
                Err(error) if addresses.peek().is_some() && !self.ended.is_interrupted() => {
                    self.ended.watch.note(&format!("{address} does not give the layer {}: {error}", blob.0));
                }
                other => return other,
            }
        }
    }
}

/// One layer's progress, as the store tells it.
struct LayerProgress<'p> {
    blob: &'p Digest,
    total: u64,
    ended: &'p Ended,
}

impl Progress for LayerProgress<'_> {
    fn layer(&self, _: &str, done: u64, _: Option<u64>) {
        self.ended.watch.layer(self.blob, LayerStep::Moving { done, total: self.total });
    }

    fn is_cancelled(&self) -> bool {
        self.ended.is_interrupted()
    }
}
