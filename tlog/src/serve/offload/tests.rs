use std::time::Duration;

use super::*;

async fn elsewhere<F>(work: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let alarm = Arc::new(Alarm::default());
    let mut work = Elsewhere::new(work);
    match work.poll(Waker::from(Arc::clone(&alarm)), ()).await.unwrap() {
        Poll::Ready(output) => output,
        Poll::Pending => work.finish(alarm, &Arc::new(Semaphore::new(1))).await.unwrap(),
    }
}

#[tokio::test]
async fn every_poll_is_on_another_thread_and_no_wake_is_lost() {
    let here = thread::current().id();
    let (send, receive) = tokio::sync::oneshot::channel();
    let work = async move {
        let mut threads = vec![thread::current().id()];
        for _ in 0..100 {
            tokio::task::yield_now().await;
            threads.push(thread::current().id());
        }
        let word: &str = receive.await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        threads.push(thread::current().id());
        assert!(!threads.contains(&here));
        word
    };
    let work = tokio::spawn(elsewhere(work));
    tokio::task::yield_now().await;
    send.send("done").unwrap();
    assert_eq!(work.await.unwrap(), "done");
}

#[tokio::test]
#[should_panic(expected = "as it was")]
async fn a_panic_comes_out_where_it_is_awaited() {
    elsewhere(async { panic!("as it was") }).await;
}

#[tokio::test]
async fn no_more_threads_compute_than_there_are_cores() {
    let now = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 * cores() {
        let now = Arc::clone(&now);
        tasks.spawn(compute(move || {
            let beside = now.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            beside
        }));
    }
    while let Some(beside) = tasks.join_next().await {
        assert!(beside.unwrap().unwrap() < cores());
    }
}
