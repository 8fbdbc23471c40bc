use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use super::*;
use crate::checkpoint::{Checkpoint, Origin};
use crate::clock::FixedClock;
use crate::key::{KeyKind, SoftwareSigner};
use crate::merkle::{Hash, NodeId, leaf_hash, verify_inclusion};
use crate::note::Note;
use crate::server::log::{AddError, HashedLeaf, OpenError, Receipt};
use crate::server::store::{Memory, Store as _};

fn submission(n: u64) -> Submission {
    let leaf = HashedLeaf::new(format!("leaf {n}"));
    Submission { identity: leaf.hash(), leaf, extra: bytes::Bytes::new(), terms: Vec::new() }
}

fn submissions(range: std::ops::Range<u64>) -> Vec<Submission> {
    range.map(submission).collect()
}

fn face() -> Face {
    let signer = SoftwareSigner::generate(KeyKind::Ed25519).unwrap();
    Face::new(Origin::new("log.example").unwrap(), Arc::new(signer)).unwrap()
}

fn batch(old: u64, new: u64) -> (Tree, Batch) {
    let tree = tree(old);
    let batch = tree.integrate(submissions(old..new), Timestamp::from_seconds(1));
    (tree, batch)
}

/// The tree of `size` leaves, in one batch.
fn tree(size: u64) -> Tree {
    let empty = Tree::empty();
    let checked = empty.integrate(submissions(0..size), Timestamp::default()).check(&empty).unwrap();
    Tree { edge: checked.batch.edge, rows: checked.rows }
}

/// What the core's compact range says of the same batch.
fn appended(old: u64, new: u64) -> (CompactRange, Vec<(NodeId, Hash)>) {
    let mut range = CompactRange::new();
    let mut nodes = Vec::new();
    for n in 0..new {
        range.append(leaf_hash(&submission(n).leaf), |id, hash| {
            if n >= old {
                nodes.push((id, hash));
            }
        });
    }
    nodes.sort_unstable();
    (range, nodes)
}

fn assert_integrates(old: u64, size: u64) {
    let (tree, batch) = batch(old, size);
    let (range, nodes) = appended(old, size);
    assert_eq!(batch.edge, range, "{old}..{size}");
    assert_eq!(batch.nodes, nodes, "{old}..{size}");
    let root = range.root();
    for (index, (new, proof)) in (old..).zip(batch.entries.iter().zip(&batch.proofs)) {
        verify_inclusion(&new.leaf_hash, index, size, proof, &root).unwrap();
    }
    assert_eq!(batch.proofs.len() as u64, size - old);
    assert_eq!(batch.check(&tree).unwrap().root, root, "{old}..{size}");
}

#[test]
fn a_batch_of_any_size_on_any_size_gives_edge_nodes_and_proofs() {
    for old in 0..36 {
        for new in old..40 {
            assert_integrates(old, new);
        }
    }
    for (old, new) in
        [(0, 256), (0, 257), (255, 256), (255, 257), (256, 257), (200, 600), (511, 513), (1, 1100)]
    {
        assert_integrates(old, new);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn larger_batches_integrate(old in 0u64..1500, count in 0u64..700) {
        assert_integrates(old, old + count);
    }
}

#[test]
fn five_rows_lead_to_the_same_root() {
    // Past 65,536 leaves the right edge has five.
    let tree = tree(66_000);
    assert_eq!(tree.rows.root(), tree.edge.root());
    let batch = tree.integrate(submissions(66_000..66_300), Timestamp::default());
    assert!(batch.check(&tree).is_ok());
}

fn flip(hash: &mut Hash) {
    let mut bytes = *hash.as_bytes();
    bytes[7] ^= 0x10;
    *hash = Hash::from_bytes(bytes);
}

#[test]
fn a_flipped_bit_in_a_leaf_hash_is_not_signed() {
    let (tree, mut batch) = batch(300, 310);
    flip(&mut batch.entries[4].leaf_hash);
    assert_eq!(batch.check(&tree).unwrap_err().what, "a leaf hash");
}

#[test]
fn a_flipped_bit_in_the_stored_bytes_is_not_signed() {
    let (tree, mut batch) = batch(300, 310);
    let mut leaf = batch.entries[9].entry.leaf.to_vec();
    leaf[0] ^= 1;
    batch.entries[9].entry.leaf = leaf.into();
    assert_eq!(batch.check(&tree).unwrap_err().what, "a leaf hash");
}

#[test]
fn a_bit_that_flips_between_hashing_a_leaf_and_integrating_it_is_not_signed() {
    let tree = tree(300);
    let mut submissions = submissions(300..310);
    submissions[3].leaf.flip_a_bit();
    let batch = tree.integrate(submissions, Timestamp::default());
    assert_eq!(batch.check(&tree).unwrap_err().what, "a leaf hash");
}

#[test]
fn a_flipped_bit_in_any_node_is_not_signed() {
    let (tree, batch) = batch(250, 270);
    for node in 0..batch.nodes.len() {
        let mut flipped = batch.clone();
        flip(&mut flipped.nodes[node].1);
        assert_eq!(flipped.check(&tree).unwrap_err().what, "an interior node");
    }
}

#[test]
fn a_missing_or_misplaced_node_is_not_signed() {
    let (tree, batch) = batch(250, 270);
    let mut missing = batch.clone();
    missing.nodes.pop();
    assert!(missing.check(&tree).is_err());
    let mut misplaced = batch;
    misplaced.nodes[3].0.index += 1;
    assert!(misplaced.check(&tree).is_err());
}

#[test]
fn a_flipped_bit_in_the_edge_before_the_batch_is_not_signed() {
    let good = tree(300);
    for at in 0..good.edge.hashes().len() {
        let mut hashes = good.edge.hashes().to_vec();
        flip(&mut hashes[at]);
        let edge = CompactRange::from_parts(300, hashes).unwrap();
        let bad = Tree { edge, rows: good.rows.clone() };
        let batch = bad.integrate(submissions(300..310), Timestamp::default());
        assert_eq!(batch.check(&bad).unwrap_err().what, "the root");
    }
}

#[test]
fn a_flipped_bit_in_the_edge_after_the_batch_is_not_signed() {
    let (tree, mut batch) = batch(300, 310);
    let mut hashes = batch.edge.hashes().to_vec();
    flip(&mut hashes[1]);
    batch.edge = CompactRange::from_parts(310, hashes).unwrap();
    assert_eq!(batch.check(&tree).unwrap_err().what, "the root");
}

#[test]
fn a_flipped_bit_in_the_second_copy_of_the_edge_is_not_signed() {
    let good = tree(300);
    let hash = Hash::from_bytes([7; 32]);
    let mut rows: Vec<Vec<Hash>> = RightRows::node_ids(300).iter().map(|ids| vec![hash; ids.len()]).collect();
    rows[0][0] = hash;
    let bad = Tree { edge: good.edge.clone(), rows: RightRows::from_rows(300, rows) };
    assert!(bad.integrate(submissions(300..301), Timestamp::default()).check(&bad).is_err());
}

/// Where a bit can flip between `integrate` and `sign`. Not among them, because the signed head does not depend on
/// them: times, identities, what stands beside a leaf, and the proofs for the submitters.
#[derive(Clone, Copy, Debug)]
enum Place {
    Leaf,
    LeafHash,
    NodeLevel,
    NodeIndex,
    NodeHash,
    First,
    EdgeBefore,
    EdgeAfter,
    SecondCopy,
    SecondSize,
}

const PLACES: [Place; 10] = [
    Place::Leaf,
    Place::LeafHash,
    Place::NodeLevel,
    Place::NodeIndex,
    Place::NodeHash,
    Place::First,
    Place::EdgeBefore,
    Place::EdgeAfter,
    Place::SecondCopy,
    Place::SecondSize,
];

fn flip_bit(hash: Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}

fn flip_edge(edge: &CompactRange, at: usize, bit: usize) -> CompactRange {
    let mut hashes = edge.hashes().to_vec();
    let at = at % hashes.len();
    hashes[at] = flip_bit(hashes[at], bit);
    CompactRange::from_parts(edge.size(), hashes).unwrap()
}

fn flip_at(place: Place, (mut tree, mut batch): (Tree, Batch), at: usize, bit: usize) -> (Tree, Batch) {
    let (entry, node) = (at % batch.entries.len(), at % batch.nodes.len());
    match place {
        Place::Leaf => {
            let mut leaf = batch.entries[entry].entry.leaf.to_vec();
            let byte = bit / 8 % leaf.len();
            leaf[byte] ^= 1 << (bit % 8);
            batch.entries[entry].entry.leaf = leaf.into();
        }
        Place::LeafHash => batch.entries[entry].leaf_hash = flip_bit(batch.entries[entry].leaf_hash, bit),
        Place::NodeLevel => batch.nodes[node].0.level ^= 1 << (bit % 8),
        Place::NodeIndex => batch.nodes[node].0.index ^= 1 << (bit % 64),
        Place::NodeHash => batch.nodes[node].1 = flip_bit(batch.nodes[node].1, bit),
        Place::First => batch.first ^= 1 << (bit % 64),
        Place::EdgeAfter => batch.edge = flip_edge(&batch.edge, at, bit),
        Place::EdgeBefore => {
            tree.edge = flip_edge(&tree.edge, at, bit);
            let old = tree.size();
            batch = tree.integrate(submissions(old..batch.edge.size()), batch.time);
        }
        Place::SecondCopy => tree.rows.flip_a_bit(at, bit),
        Place::SecondSize => tree.rows.flip_the_size(bit),
    }
    (tree, batch)
}

/// Batches on trees of one and two rows, around their ends.
static BATCHES: LazyLock<Vec<(Tree, Batch)>> = LazyLock::new(|| {
    [(1, 4), (255, 257), (256, 257), (300, 310), (511, 530)].map(|(old, new)| batch(old, new)).to_vec()
});

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_bit_that_flips_anywhere_between_integrating_and_signing_is_not_signed(
        place in prop::sample::select(&PLACES[..]),
        which in 0..5usize,
        (at, bit) in (any::<usize>(), any::<usize>()),
    ) {
        let (tree, batch) = flip_at(place, BATCHES[which].clone(), at, bit);
        prop_assert!(batch.check(&tree).is_err(), "{:?} was signed", place);
    }
}

#[test]
fn a_batch_is_checked_only_on_the_tree_it_was_made_for() {
    let (_, batch) = batch(300, 310);
    assert_eq!(batch.check(&tree(299)).unwrap_err().what, "the size");
}

#[test]
fn checkpoints_are_ed25519_notes_of_the_origin() {
    let face = face();
    let (tree, batch) = batch(3, 5);
    let head = batch.check(&tree).unwrap().sign(&face).unwrap().head;
    let note = Note::parse(head.checkpoint.as_bytes()).unwrap();
    assert_eq!(note.verify(&[face.key().clone()]).unwrap().len(), 1);
    let checkpoint = Checkpoint::parse(note.text()).unwrap();
    assert_eq!(checkpoint.origin.as_str(), "log.example");
    assert_eq!((checkpoint.size, checkpoint.root), (5, appended(0, 5).0.root()));
}

#[test]
fn a_face_without_an_ed25519_key_is_refused() {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256).unwrap();
    let refused = Face::new(Origin::new("log.example").unwrap(), Arc::new(signer));
    assert!(matches!(refused, Err(OpenError::KeyKind(KeyKind::EcdsaP256))));
}

#[tokio::test]
async fn readers_see_the_head_before_submitters_are_answered() {
    let (store, face, tree) = (Memory::new(), face(), Tree::empty());
    let batch = tree.integrate(submissions(0..2), Timestamp::from_seconds(9));
    let committed = batch.check(&tree).unwrap().sign(&face).unwrap().commit(&store, None).await.unwrap();
    let ((first, mut first_answer), (second, second_answer)) = (Ticket::pair(), Ticket::pair());
    let tree = committed.publish(vec![first, second], |published| {
        assert_eq!(published.head().size, 2);
        assert!(first_answer.try_recv().is_err(), "answered before the head was shown");
    });
    assert_eq!(tree.size(), 2);
    let Answer::Added(receipt) = second_answer.await.unwrap() else { panic!("not added") };
    assert_eq!((receipt.index, receipt.time), (1, Timestamp::from_seconds(9)));
    let Receipt { leaf_hash, proof, head, .. } = &*receipt;
    verify_inclusion(leaf_hash, 1, 2, proof, &head.root).unwrap();
    assert_eq!(store.open().await.unwrap().as_ref(), Some(&**head));
}

#[tokio::test]
async fn entries_that_do_not_hash_to_their_leaves_do_not_open() {
    let (store, face, tree) = (Memory::new(), face(), Tree::empty());
    let batch = tree.integrate(submissions(0..3), Timestamp::from_seconds(9));
    let mut signed = batch.check(&tree).unwrap().sign(&face).unwrap();
    // As if the disk had lost a bit after the commit.
    signed.batch.entries[1].entry.leaf = bytes::Bytes::from_static(b"leaf I");
    signed.commit(&store, None).await.unwrap();
    let clock = FixedClock::new(Timestamp::from_seconds(9));
    let refused = restore(&store, &face, &clock).await.expect_err("must not open");
    assert!(refused.to_string().contains("entry 1 does not hash to its leaf"), "{refused}");
}

#[tokio::test]
async fn a_head_that_is_not_what_its_checkpoint_says_does_not_open() {
    let (store, face, tree) = (Memory::new(), face(), Tree::empty());
    let batch = tree.integrate(submissions(0..3), Timestamp::from_seconds(9));
    let mut signed = batch.check(&tree).unwrap().sign(&face).unwrap();
    signed.head.size = 2;
    signed.commit(&store, None).await.unwrap();
    let clock = FixedClock::new(Timestamp::from_seconds(9));
    let refused = restore(&store, &face, &clock).await.expect_err("must not open");
    assert!(refused.to_string().contains("not what its checkpoint says"), "{refused}");
}

#[tokio::test]
async fn a_restored_tree_goes_on_where_the_log_stood() {
    let (store, face, empty) = (Memory::new(), face(), Tree::empty());
    let batch = empty.integrate(submissions(0..700), Timestamp::from_seconds(9));
    let committed = batch.check(&empty).unwrap().sign(&face).unwrap().commit(&store, None).await.unwrap();
    let tree = committed.publish(Vec::new(), |_| ());
    let clock = FixedClock::new(Timestamp::from_seconds(9));
    let (restored, published) = restore(&store, &face, &clock).await.unwrap();
    assert_eq!((restored.size(), published.head().size), (700, 700));
    assert_eq!(restored.edge, tree.edge);
    assert_eq!(restored.rows, tree.rows);
}

#[tokio::test]
async fn a_ticket_can_be_refused() {
    let (ticket, answer) = Ticket::pair();
    ticket.refuse(AddError::Closed);
    assert!(matches!(answer.await, Ok(Answer::Refused(AddError::Closed))));
}
