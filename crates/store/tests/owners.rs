//! Whose a name is: what one owner brings, another's removals leave alone; and a person's stays a person's.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Roots, docker_archive, layers, load, tar};
use onggi_error::{Diagnose, Kind};
use onggi_image::Reference;
use onggi_store::{Error, Owner, Removed, Store};

fn owner(text: &str) -> Owner {
    text.parse().unwrap()
}

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

/// Each name with whose it is; what has none by `-`.
fn names(store: &Store) -> Vec<String> {
    let images = store.images().unwrap();
    let mut lines: Vec<_> = images
        .iter()
        .flat_map(|image| match image.names.as_slice() {
            [] => vec![format!("- {}", image.owner)],
            names => {
                names.iter().map(|name| format!("{} {}", name.familiar(), image.owner_of(name))).collect()
            }
        })
        .collect();
    lines.sort();
    lines
}

/// The same store as a person and as Kubernetes have it open.
fn both(roots: &Roots) -> (Store, Store) {
    (roots.open(), roots.open().owned_by(owner("kubernetes")))
}

fn denied(result: Result<Vec<Removed>, Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::NotOwner { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(error.hint().is_some());
}

#[test]
fn an_image_that_two_have_named_stays_with_the_other() {
    let roots = Roots::new();
    let (person, kubernetes) = both(&roots);
    let archive = tar(&docker_archive(&["pod:1"], &layers("pod")));
    let id = load(&kubernetes, &archive).unwrap()[0].id.clone();
    assert_eq!(names(&person), ["pod:1 kubernetes"]);
    let [image] = person.images().unwrap().try_into().unwrap();
    assert!(image.belongs_to(&owner("kubernetes")) && !image.belongs_to(&Owner::default()));

    person.tag("pod:1", &name("mine:1")).unwrap();
    assert_eq!(names(&person), ["mine:1 person", "pod:1 kubernetes"]);
    let [image] = person.images().unwrap().try_into().unwrap();
    assert!(!image.belongs_to(&owner("kubernetes")) && !image.belongs_to(&Owner::default()));
    denied(kubernetes.remove("mine:1", true, &|_| false));
    // By its id: its own name, and nothing else.
    let removed = kubernetes.remove(&id.to_string(), false, &|_| false).unwrap();
    assert_eq!(removed, [Removed::Untagged(name("pod:1"))]);
    assert_eq!(names(&person), ["mine:1 person"]);
    denied(kubernetes.remove(&id.to_string(), true, &|_| false));
    // A person may remove anything, by name.
    load(&kubernetes, &archive).unwrap();
    person.remove("pod:1", false, &|_| false).unwrap();
    person.remove("mine:1", false, &|_| false).unwrap();
    assert!(names(&person).is_empty());
}

#[test]
fn what_a_person_asks_for_is_a_person_s_from_then_on() {
    let roots = Roots::new();
    let (person, kubernetes) = both(&roots);
    let archive = tar(&docker_archive(&["shared:1"], &layers("one")));
    for (store, expected) in [(&kubernetes, "kubernetes"), (&person, "person"), (&kubernetes, "person")] {
        load(store, &archive).unwrap();
        assert_eq!(names(&person), [format!("shared:1 {expected}")]);
    }
    // The name moves on to another image: the old one has none, and still is a person's.
    load(&kubernetes, &tar(&docker_archive(&["shared:1"], &layers("two")))).unwrap();
    assert_eq!(names(&person), ["- person", "shared:1 person"]);
    let nameless = person.images().unwrap().into_iter().find(|image| image.names.is_empty()).unwrap();
    denied(kubernetes.remove(&nameless.id.to_string(), true, &|_| false));
    person.remove(&nameless.id.to_string(), false, &|_| false).unwrap();
}

#[test]
fn its_own_goes_as_a_person_s_goes() {
    let roots = Roots::new();
    let (person, kubernetes) = both(&roots);
    load(&kubernetes, &tar(&docker_archive(&["moving:1"], &layers("one")))).unwrap();
    load(&kubernetes, &tar(&docker_archive(&["moving:1"], &layers("two")))).unwrap();
    assert_eq!(names(&person), ["- kubernetes", "moving:1 kubernetes"]);
    let nameless = person.images().unwrap().into_iter().find(|image| image.names.is_empty()).unwrap();
    assert!(nameless.belongs_to(&owner("kubernetes")));
    kubernetes.remove(&nameless.id.to_string(), false, &|_| false).unwrap();
    kubernetes.remove("moving:1", false, &|_| false).unwrap();
    assert!(names(&person).is_empty());
    assert!(person.check(false).unwrap().findings.is_empty());
}

/// As a pull does that finds nothing to fetch.
#[test]
fn what_a_person_asks_for_again_is_a_person_s() {
    let roots = Roots::new();
    let (person, kubernetes) = both(&roots);
    let id = load(&kubernetes, &tar(&docker_archive(&["pod:1"], &layers("pod")))).unwrap()[0].id.clone();
    assert!(kubernetes.ask_for(&name("pod:1"), &id).unwrap());
    assert!(!person.ask_for(&name("other:1"), &id).unwrap());
    assert_eq!(names(&person), ["pod:1 kubernetes"]);
    assert!(person.ask_for(&name("pod:1"), &id).unwrap());
    assert_eq!(names(&person), ["pod:1 person"]);
    assert_eq!(person.images().unwrap()[0].owner, Owner::default());
    assert!(kubernetes.ask_for(&name("pod:1"), &id).unwrap());
    denied(kubernetes.remove("pod:1", true, &|_| false));
}

#[test]
fn a_nameless_image_of_a_person_s_outlives_a_program_s_name() {
    let roots = Roots::new();
    let (person, kubernetes) = both(&roots);
    let id = load(&person, &tar(&docker_archive(&[], &layers("mine")))).unwrap()[0].id.to_string();
    for what in ["pod:1", id.as_str()] {
        kubernetes.tag(&id, &name("pod:1")).unwrap();
        let [image] = person.images().unwrap().try_into().unwrap();
        assert!(!image.belongs_to(&owner("kubernetes")) && !image.belongs_to(&Owner::default()));
        let removed = kubernetes.remove(what, false, &|_| false).unwrap();
        assert_eq!(removed, [Removed::Untagged(name("pod:1"))]);
        assert_eq!(names(&person), ["- person"]);
    }
    person.remove(&id, false, &|_| false).unwrap();
    assert!(names(&person).is_empty());
}

#[test]
fn who_takes_the_last_name_away_leaves_the_image_to_the_others() {
    let roots = Roots::new();
    let (person, kubernetes) = both(&roots);
    load(&kubernetes, &tar(&docker_archive(&["pod:1"], &layers("pod")))).unwrap();
    for mine in ["mine:1", "mine:2"] {
        person.tag("pod:1", &name(mine)).unwrap();
    }
    person.remove("mine:1", false, &|_| false).unwrap();
    assert_eq!(person.images().unwrap()[0].owner, Owner::default());
    person.remove("mine:2", false, &|_| false).unwrap();
    assert!(person.images().unwrap()[0].belongs_to(&owner("kubernetes")));
    kubernetes.remove("pod:1", false, &|_| false).unwrap();
    assert!(names(&person).is_empty());
}
