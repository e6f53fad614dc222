//! Loading, running and removing the same images at once: whoever holds a lease has its layers, and nobody's half-made act is collected.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Roots, docker_archive, layers, load, tar};
use onggi_store::{Error, Severity};

/// How long the users of images go on when they hardly ever get one.
const ENOUGH: Duration = Duration::from_secs(3);

#[test]
fn a_lease_keeps_its_layers_while_others_load_and_remove() {
    let roots = Roots::new();
    let archives = [("one", layers("a")), ("two", layers("a"))].map(|(name, mut layers)| {
        // Both stand on the same layers, and one has another on top.
        if name == "two" {
            layers.push(common::layers("top")[1].clone());
        }
        tar(&docker_archive(&[name], &layers))
    });
    drop(roots.open());
    let (done, leased) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for archive in &archives {
            scope.spawn(|| {
                let store = roots.open();
                while !done.load(Ordering::Relaxed) {
                    load(&store, archive).unwrap();
                }
            });
        }
        scope.spawn(|| {
            let store = roots.open();
            let mut turn = 0;
            while !done.load(Ordering::Relaxed) {
                turn += 1;
                let name = if turn % 2 == 0 { "one" } else { "two" };
                match store.remove(name, turn % 3 == 0, &|_| false) {
                    Ok(_)
                    | Err(Error::NoSuchImage { .. } | Error::NameInUse { .. } | Error::InUse { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let users: Vec<_> = (0..2)
            .map(|user| {
                let (roots, leased) = (&roots, &leased);
                scope.spawn(move || {
                    let store = roots.open();
                    let mut uses = 0;
                    // On a busy machine many turns pass before the first image is there.
                    let began = Instant::now();
                    for turn in 0.. {
                        if uses == 200 || began.elapsed() > ENOUGH {
                            break;
                        }
                        let owner = format!("container-{user}-{turn}");
                        // It may go at any moment before the lease, and not after.
                        let Ok(image) = store.resolve(if turn % 2 == 0 { "one" } else { "two" }) else {
                            continue;
                        };
                        if store.lease(&owner, &image.id).is_err() {
                            continue;
                        }
                        for layer in store.mount_layers(&image).unwrap() {
                            assert!(layer.exists());
                        }
                        assert!(store.image(&image.id).is_ok());
                        store.release(&owner).unwrap();
                        uses += 1;
                    }
                    leased.fetch_add(uses, Ordering::Relaxed);
                })
            })
            .collect();
        let results: Vec<_> = users.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    assert!(leased.load(Ordering::Relaxed) > 0, "nobody ever got an image");
    let report = roots.open().check(true).unwrap();
    // A removal does not collect what a load under way may be about to use. What the last one so spared is garbage, not damage, and the
    // next removal or check takes it.
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Leftover), "{report:#?}");
    assert!(roots.open().check(false).unwrap().findings.is_empty());
}
