//! The tree against RFC 6962's own definition, the reference roots, and two foreign implementations.
//!
//! `rs_merkle` knows roots and inclusion proofs, `tlog_tiles` (a port of Go's `tlog`) consistency proofs too.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Every size up to this one is compared; random larger ones follow.
const EVERY_SIZE: u64 = 1_100;

/// A tree with all its complete nodes, gained through [`CompactRange::append`] alone.
#[derive(Default)]
struct Tree {
    range: CompactRange,
    nodes: HashMap<NodeId, Hash>,
    roots: Vec<Hash>,
}

impl Tree {
    fn of(size: u64) -> Self {
        let mut tree = Self { roots: vec![EMPTY_ROOT], ..Self::default() };
        for index in 0..size {
            let nodes = &mut tree.nodes;
            tree.range
                .append(leaf(index), |id, hash| assert_eq!(nodes.insert(id, hash), None, "{id:?} twice"));
            tree.roots.push(tree.range.root());
        }
        tree
    }

    fn root(&self, size: u64) -> Hash {
        self.roots[usize::try_from(size).unwrap()]
    }

    fn assemble(&self, plan: &ProofPlan) -> Vec<Hash> {
        let hashes: Vec<_> = plan.node_ids().iter().map(|id| self.nodes[id]).collect();
        plan.assemble(&hashes).unwrap()
    }

    fn inclusion(&self, index: u64, size: u64) -> Vec<Hash> {
        self.assemble(&plan_inclusion(index, size).unwrap())
    }

    fn consistency(&self, old: u64, new: u64) -> Vec<Hash> {
        self.assemble(&plan_consistency(old, new).unwrap())
    }
}

impl tlog_tiles::HashReader for Tree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let read = |&index: &u64| {
            let (level, index) = tlog_tiles::split_stored_hash_index(index);
            tlog_tiles::Hash(*self.nodes[&NodeId { level, index }].as_bytes())
        };
        Ok(indexes.iter().map(read).collect())
    }
}

fn leaf(index: u64) -> Hash {
    leaf_hash(&index.to_be_bytes())
}

fn ours(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    hashes.into_iter().map(|hash| Hash::from_bytes(hash.0)).collect()
}

fn theirs(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().map(|hash| tlog_tiles::Hash(*hash.as_bytes())).collect()
}

/// MTH of RFC 6962 §2.1, word for word.
fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&mth(left), &mth(right))
        }
    }
}

/// PATH of RFC 6962 §2.1.1.
fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) =
        if m < k { (path(m, left), mth(right)) } else { (path(m - k, right), mth(left)) };
    proof.push(sibling);
    proof
}

/// SUBPROOF of RFC 6962 §2.1.2.
fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
    if m == leaves.len() {
        return if known { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = split(leaves.len());
    let (left, right) = leaves.split_at(k);
    let (mut proof, sibling) = if m <= k {
        (subproof(m, left, known), mth(right))
    } else {
        (subproof(m - k, right, false), mth(left))
    };
    proof.push(sibling);
    proof
}

/// The largest power of two below `n`.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

#[derive(Clone)]
struct Rfc6962;

impl rs_merkle::Hasher for Rfc6962 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        *leaf_hash(data).as_bytes()
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right
            .map_or(*left, |right| *node_hash(&Hash::from_bytes(*left), &Hash::from_bytes(*right)).as_bytes())
    }
}

/// A few indexes below `size`, the borders among them.
fn samples(size: u64) -> Vec<u64> {
    let mut indexes =
        vec![0, size / 3, size / 2, size.next_power_of_two() / 2, size.saturating_sub(2), size - 1];
    indexes.retain(|index| *index < size);
    indexes.sort_unstable();
    indexes.dedup();
    indexes
}

#[test]
fn roots_of_the_rfc_6962_reference_leaves() {
    let leaves =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut range = CompactRange::new();
    assert_eq!(range.root().to_hex(), roots[0]);
    for (data, root) in leaves.iter().zip(&roots[1..]) {
        range.append(leaf_hash(&hex::decode(data).unwrap()), |_, _| {});
        assert_eq!(range.root().to_hex(), *root);
    }
}

#[test]
fn every_node_completed_is_the_root_of_its_leaves() {
    let tree = Tree::of(200);
    let leaves: Vec<_> = (0..200).map(leaf).collect();
    for (id, hash) in &tree.nodes {
        let first = usize::try_from(id.index << id.level).unwrap();
        assert_eq!(*hash, mth(&leaves[first..first + (1 << id.level)]), "{id:?}");
    }
    // One node per leaf and one per completed pair: n − popcount(n) interior nodes.
    assert_eq!(tree.nodes.len(), 200 + 200 - 3);
}

#[test]
fn an_edge_restored_from_its_nodes_continues_the_same_tree() {
    let tree = Tree::of(130);
    for size in 0..=130 {
        let ids = CompactRange::node_ids(size);
        let mut range =
            CompactRange::from_parts(size, ids.iter().map(|id| tree.nodes[id]).collect()).unwrap();
        assert_eq!(range.root(), tree.root(size), "size {size}");
        for index in size..130 {
            range.append(leaf(index), |_, _| {});
        }
        assert_eq!(range, tree.range, "continued from {size}");
    }
}

#[test]
fn an_edge_with_more_or_fewer_hashes_than_set_bits_is_refused() {
    let refused = |found| Err(RangeError { size: 6, expected: 2, found });
    assert_eq!(CompactRange::from_parts(6, vec![EMPTY_ROOT; 1]), refused(1));
    assert_eq!(CompactRange::from_parts(6, vec![EMPTY_ROOT; 3]), refused(3));
    assert_eq!(CompactRange::from_parts(u64::MAX, vec![EMPTY_ROOT; 64]).unwrap().size(), u64::MAX);
    assert_eq!(CompactRange::node_ids(u64::MAX).len(), 64);
}

#[test]
fn proofs_are_those_of_rfc_6962_for_every_size_and_index_to_70() {
    let tree = Tree::of(70);
    let leaves: Vec<_> = (0..70).map(leaf).collect();
    for size in 1..=70_u64 {
        let leaves = &leaves[..usize::try_from(size).unwrap()];
        for index in 0..size {
            let proof = tree.inclusion(index, size);
            assert_eq!(proof, path(usize::try_from(index).unwrap(), leaves), "leaf {index} of {size}");
            verify_inclusion(&leaf(index), index, size, &proof, &mth(leaves)).unwrap();
            let (old, m) = (index + 1, usize::try_from(index + 1).unwrap());
            let proof = tree.consistency(old, size);
            assert_eq!(proof, subproof(m, leaves, true), "{old} to {size}");
            verify_consistency(old, &tree.root(old), size, &mth(leaves), &proof).unwrap();
        }
    }
}

#[test]
fn rs_merkle_has_the_same_roots_and_inclusion_proofs_at_every_size() {
    let tree = Tree::of(EVERY_SIZE);
    let leaves: Vec<_> = (0..EVERY_SIZE).map(|index| *leaf(index).as_bytes()).collect();
    for size in 1..=EVERY_SIZE {
        let oracle = rs_merkle::MerkleTree::<Rfc6962>::from_leaves(&leaves[..usize::try_from(size).unwrap()]);
        assert_eq!(oracle.root(), Some(*tree.root(size).as_bytes()), "root of {size}");
        for index in samples(size) {
            let expected = oracle.proof(&[usize::try_from(index).unwrap()]);
            let proof = tree.inclusion(index, size);
            let raw: Vec<_> = proof.iter().map(|hash| *hash.as_bytes()).collect();
            assert_eq!(raw, expected.proof_hashes(), "leaf {index} of {size}");
            verify_inclusion(&leaf(index), index, size, &proof, &tree.root(size)).unwrap();
        }
    }
}

#[test]
fn tlog_tiles_has_the_same_proofs_at_every_size() {
    let tree = Tree::of(EVERY_SIZE);
    for size in 1..=EVERY_SIZE {
        let root = tlog_tiles::Hash(*tree.root(size).as_bytes());
        assert_eq!(tlog_tiles::tree_hash(size, &tree).unwrap(), root);
        for index in samples(size) {
            let old = index + 1;
            let proof = tree.consistency(old, size);
            assert_eq!(proof, ours(tlog_tiles::prove_tree(size, old, &tree).unwrap()), "{old} to {size}");
            verify_consistency(old, &tree.root(old), size, &tree.root(size), &proof).unwrap();
            let proof = tree.inclusion(index, size);
            assert_eq!(
                proof,
                ours(tlog_tiles::prove_record(size, index, &tree).unwrap()),
                "{index} of {size}"
            );
        }
    }
}

/// Every change of one hash, and one hash too few or too many at every position.
fn broken(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for at in 0..=proof.len() {
        let mut extra = proof.to_vec();
        extra.insert(at, proof.get(at).copied().unwrap_or(EMPTY_ROOT));
        all.push(extra);
    }
    for at in 0..proof.len() {
        let mut missing = proof.to_vec();
        missing.remove(at);
        all.push(missing);
        let mut flipped = proof.to_vec();
        let mut bytes = *flipped[at].as_bytes();
        bytes[at % 32] ^= 1;
        flipped[at] = Hash::from_bytes(bytes);
        all.push(flipped);
        for other in at + 1..proof.len() {
            let mut swapped = proof.to_vec();
            swapped.swap(at, other);
            all.push(swapped);
        }
    }
    all
}

#[test]
fn inclusion_is_refused_with_a_missing_extra_flipped_or_swapped_hash() {
    let tree = Tree::of(40);
    for size in 1..=40 {
        for index in 0..size {
            let (root, proof) = (tree.root(size), tree.inclusion(index, size));
            for broken in broken(&proof) {
                assert!(
                    verify_inclusion(&leaf(index), index, size, &broken, &root).is_err(),
                    "{index} of {size}"
                );
            }
        }
    }
}

#[test]
fn inclusion_is_refused_for_any_other_index_leaf_or_root() {
    let tree = Tree::of(28);
    for size in 1..=28 {
        for index in 0..size {
            let (root, proof) = (tree.root(size), tree.inclusion(index, size));
            for other in (0..32).filter(|other| *other != index) {
                assert!(verify_inclusion(&leaf(index), other, size, &proof, &root).is_err());
                assert!(verify_inclusion(&leaf(other), index, size, &proof, &root).is_err());
                let root = tree.root(other % 29);
                assert_eq!(
                    verify_inclusion(&leaf(index), index, size, &proof, &root).is_ok(),
                    other % 29 == size,
                    "{index} of {size} under the root of {other}"
                );
            }
        }
    }
}

/// A proof alone does not fix the size, because ways of the same shape hash alike (leaf 0 of 3 and of 4); with the
/// root of the other size, which a checkpoint binds to it, none passes.
#[test]
fn inclusion_is_refused_for_a_size_with_its_own_root() {
    let tree = Tree::of(40);
    for size in 1..=40 {
        for index in 0..size {
            let proof = tree.inclusion(index, size);
            for other in (0..=40).filter(|other| *other != size) {
                assert!(verify_inclusion(&leaf(index), index, other, &proof, &tree.root(other)).is_err());
            }
        }
    }
}

#[test]
fn consistency_is_refused_with_a_missing_extra_flipped_or_swapped_hash() {
    let tree = Tree::of(40);
    for new in 0..=40 {
        for old in 0..=new {
            let (old_root, new_root, proof) = (tree.root(old), tree.root(new), tree.consistency(old, new));
            verify_consistency(old, &old_root, new, &new_root, &proof).unwrap();
            for broken in broken(&proof) {
                assert!(
                    verify_consistency(old, &old_root, new, &new_root, &broken).is_err(),
                    "{old} to {new}"
                );
            }
        }
    }
}

#[test]
fn consistency_is_refused_for_any_other_root_or_size() {
    let tree = Tree::of(24);
    for new in 0..=24 {
        for old in 0..=new {
            let (old_root, new_root, proof) = (tree.root(old), tree.root(new), tree.consistency(old, new));
            for other in (0..=24).filter(|other| *other != old) {
                assert!(verify_consistency(old, &tree.root(other), new, &new_root, &proof).is_err());
                assert!(
                    verify_consistency(other, &tree.root(other), new, &new_root, &proof).is_err()
                        || tree.consistency(other, new) == proof
                );
            }
            for other in (0..=24).filter(|other| *other != new && old != 0) {
                assert!(verify_consistency(old, &old_root, new, &tree.root(other), &proof).is_err());
            }
        }
    }
}

#[test]
fn the_empty_tree_is_a_prefix_of_every_tree_by_its_own_root_only() {
    let tree = Tree::of(5);
    let root = tree.root(5);
    verify_consistency(0, &EMPTY_ROOT, 5, &root, &[]).unwrap();
    assert!(verify_consistency(0, &root, 5, &root, &[]).is_err());
    assert!(verify_consistency(0, &EMPTY_ROOT, 0, &root, &[]).is_err());
    assert_eq!(
        verify_consistency(0, &EMPTY_ROOT, 5, &root, &[root]),
        Err(ProofError::WrongLength { expected: 0, found: 1 })
    );
}

#[test]
fn proofs_outside_the_tree_are_refused_not_computed() {
    assert!(matches!(plan_inclusion(7, 7), Err(ProofError::OutOfRange(_))));
    assert!(matches!(plan_inclusion(0, 0), Err(ProofError::OutOfRange(_))));
    assert!(matches!(plan_consistency(8, 7), Err(ProofError::OutOfRange(_))));
    assert!(matches!(verify_inclusion(&EMPTY_ROOT, 7, 7, &[], &EMPTY_ROOT), Err(ProofError::OutOfRange(_))));
    assert!(matches!(
        verify_consistency(8, &EMPTY_ROOT, 7, &EMPTY_ROOT, &[]),
        Err(ProofError::OutOfRange(_))
    ));
}

#[test]
fn assembling_needs_a_hash_for_each_planned_node() {
    let plan = plan_inclusion(3, 11).unwrap();
    let nodes = plan.node_ids().len();
    for found in [0, nodes - 1, nodes + 1] {
        let refused = Err(ProofError::WrongLength { expected: nodes, found });
        assert_eq!(plan.assemble(&vec![EMPTY_ROOT; found]), refused);
    }
}

/// Any node of any tree, by rule instead of by memory: lets trees of 2^63 leaves be proven in.
fn pretend(id: NodeId) -> Hash {
    match id {
        // Only the trees' own nodes need to fit together: these are constants of each perfect level.
        NodeId { level: 0, .. } => leaf_hash(b"same"),
        NodeId { level, .. } => {
            let below = pretend(NodeId { level: level - 1, index: 0 });
            node_hash(&below, &below)
        }
    }
}

fn pretend_root(size: u64) -> Hash {
    let hashes = CompactRange::node_ids(size).into_iter().map(pretend).collect();
    CompactRange::from_parts(size, hashes).unwrap().root()
}

fn pretend_proof(plan: &ProofPlan) -> Vec<Hash> {
    plan.assemble(&plan.node_ids().iter().copied().map(pretend).collect::<Vec<_>>()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn larger_trees_agree_with_both_oracles(size in EVERY_SIZE..9_000, a in any::<u64>(), b in any::<u64>()) {
        use rs_merkle::MerkleTree;
        let tree = large_tree();
        let leaves: Vec<_> = (0..size).map(|index| *tree.nodes[&NodeId { level: 0, index }].as_bytes()).collect();
        let oracle = MerkleTree::<Rfc6962>::from_leaves(&leaves);
        prop_assert_eq!(oracle.root(), Some(*tree.root(size).as_bytes()));
        let (index, old) = (a % size, b % size + 1);
        let inclusion = tree.inclusion(index, size);
        let expected = oracle.proof(&[usize::try_from(index).unwrap()]);
        prop_assert_eq!(inclusion.iter().map(|hash| *hash.as_bytes()).collect::<Vec<_>>(), expected.proof_hashes());
        let consistency = tree.consistency(old, size);
        let (root, old_root) = (theirs(&[tree.root(size)])[0], theirs(&[tree.root(old)])[0]);
        prop_assert!(tlog_tiles::check_record(&theirs(&inclusion), size, root, index, theirs(&[leaf(index)])[0]).is_ok());
        prop_assert!(tlog_tiles::check_tree(&theirs(&consistency), size, root, old, old_root).is_ok());
        prop_assert!(verify_inclusion(&leaf(index), index, size, &inclusion, &tree.root(size)).is_ok());
        prop_assert!(verify_consistency(old, &tree.root(old), size, &tree.root(size), &consistency).is_ok());
    }

    #[test]
    fn trees_of_any_64_bit_size_are_proven(size in 1_u64.., a in any::<u64>(), b in any::<u64>()) {
        let (index, old) = (a % size, b % size);
        let root = pretend_root(size);
        let inclusion = pretend_proof(&plan_inclusion(index, size).unwrap());
        prop_assert_eq!(verify_inclusion(&leaf_hash(b"same"), index, size, &inclusion, &root), Ok(()));
        let consistency = pretend_proof(&plan_consistency(old, size).unwrap());
        prop_assert_eq!(verify_consistency(old, &pretend_root(old), size, &root, &consistency), Ok(()));
    }

    #[test]
    fn verifiers_never_panic(
        a in any::<u64>(), b in any::<u64>(), hashes in proptest::collection::vec(any::<[u8; 32]>(), 0..140)
    ) {
        let hashes: Vec<_> = hashes.into_iter().map(Hash::from_bytes).collect();
        prop_assert!(verify_inclusion(&EMPTY_ROOT, a, b, &hashes, &EMPTY_ROOT).is_err());
        prop_assert!(verify_consistency(a, &leaf(0), b, &leaf(1), &hashes).is_err());
    }
}

fn large_tree() -> &'static Tree {
    static TREE: std::sync::OnceLock<Tree> = std::sync::OnceLock::new();
    TREE.get_or_init(|| Tree::of(9_000))
}
