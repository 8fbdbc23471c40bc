use super::*;

#[tokio::test]
async fn what_is_added_is_found_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let signer: Arc<dyn Signer> =
        Arc::new(crate::key::SoftwareSigner::generate(crate::key::KeyKind::Ed25519).unwrap());
    let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
    let settings = LogSettings { min_free_bytes: 0, ..LogSettings::new(Origin::new("log.example").unwrap()) };
    let submission = |n: u64| {
        let leaf = Bytes::from(format!("leaf {n}"));
        Submission { identity: leaf_hash(&leaf), leaf, extra: Bytes::new(), terms: vec![] }
    };
    {
        let store = super::super::store::Rocks::create(&path).unwrap();
        Log::create(&settings, &store, Arc::clone(&signer), &*clock, Some(submission(0))).await.unwrap();
    }
    for round in 0..3u64 {
        let store = Arc::new(super::super::store::Rocks::open(&path).unwrap());
        let (log, sequencer) =
            Log::open(settings.clone(), store, Arc::clone(&signer), Arc::clone(&clock)).await.unwrap();
        let stop = tokio_util::sync::CancellationToken::new();
        let running = tokio::spawn(sequencer.run(stop.clone()));
        for n in 0..10 {
            let receipt = log.add(submission(round * 10 + n + 1)).await.unwrap();
            assert_eq!((receipt.index, receipt.duplicate), (round * 10 + n + 1, false));
            crate::merkle::verify_inclusion(
                &receipt.leaf_hash,
                receipt.index,
                receipt.head.size,
                &receipt.proof,
                &receipt.head.root,
            )
            .unwrap();
        }
        let again = log.add(submission(3)).await.unwrap();
        assert_eq!((again.index, again.duplicate), (3, true));
        stop.cancel();
        running.await.unwrap().unwrap();
        assert!(matches!(log.add(submission(999)).await, Err(AddError::Closed)));
    }
}
