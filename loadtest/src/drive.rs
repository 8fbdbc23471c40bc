//! Drives one target through its plan: a step for each rate, and after each step the verification of what it got.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;

use crate::ceiling::Operation;
use crate::cpu::Usage;
use crate::ledger::Ledger;
use crate::load::{Volley, fire};
use crate::plan::Plan;
use crate::report::{Step, Tested};
use crate::schedule::{Spacing, arrivals};
use crate::target::Target;
use crate::{http, parallel};

/// Before the first step, unmeasured: connections are opened and caches filled. Its answers are verified as all are.
const WARM_UP: (f64, Duration) = (20.0, Duration::from_secs(1));

/// How the load is offered.
#[derive(Clone)]
pub(crate) struct Offer {
    /// Rates.
    pub(crate) plan: Plan,
    /// Length of a step.
    pub(crate) span: Duration,
    /// How arrivals are spread.
    pub(crate) spacing: Spacing,
    /// Most requests without an answer.
    pub(crate) in_flight: usize,
    /// Process id of the server, if it is on this machine.
    pub(crate) server: Option<u32>,
}

/// Puts `target` under load, verifies everything that it acknowledged, and says what was found.
pub(crate) async fn drive<T: Target>(
    name: &'static str,
    operation: Option<Operation>,
    target: T,
    client: &Client,
    offer: &Offer,
    tell: impl Fn(&Step),
) -> Result<Tested> {
    let entries_before = target.entries();
    let mut session = Session { target: Arc::new(target), client, offer, ledger: Ledger::default(), seed: 0 };
    let warm = session.step(WARM_UP.0, WARM_UP.1).await.with_context(|| format!("{name}: warming up"))?;
    let answer = || warm.counts.complaints.keys().next().map_or("no answer in time", String::as_str);
    ensure!(warm.counts.accepted > 0, "{name}: the server accepts nothing: {}", answer());
    let (mut steps, mut measured) = (Vec::new(), Vec::new());
    while let Some(rate) = offer.plan.next(&measured) {
        let step =
            session.step(rate, offer.span).await.with_context(|| format!("{name}: {rate} per second"))?;
        tell(&step);
        measured.push((step.offered, step.accepted_rate));
        steps.push(step);
    }
    let Session { target, mut ledger, .. } = session;
    let audited = target.audit(&mut ledger).await;
    audited
        .with_context(|| format!("{name}: the acknowledgements cannot be held against the final state"))?;
    Ok(Tested::new(name, entries_before, operation, steps, &ledger))
}

struct Session<'o, T> {
    target: Arc<T>,
    client: &'o Client,
    offer: &'o Offer,
    ledger: Ledger,
    seed: u64,
}

impl<T: Target> Session<'_, T> {
    async fn step(&mut self, rate: f64, span: Duration) -> Result<Step> {
        self.seed += 1;
        let times = arrivals(rate, span, self.offer.spacing, self.seed);
        let shots = Arc::new(self.target.prepare(times.len()).await?);
        let (target, client, loaded) = (Arc::clone(&self.target), self.client.clone(), Arc::clone(&shots));
        let before = self.used()?;
        let volley = fire(times, self.offer.in_flight, move |number| {
            let (target, client, shots) = (Arc::clone(&target), client.clone(), Arc::clone(&loaded));
            async move {
                let request = target.request(&shots[number]);
                http::send(client, request).await
            }
        });
        let mut volley = volley.await?;
        let after = self.used()?;
        self.verify(&mut volley, shots).await?;
        let used = before.zip(after).map(|(before, after)| after.since(before));
        Ok(Step::new(span, &volley, used))
    }

    /// Verifies the answers on all cores, now that no clock runs, and lets them go.
    async fn verify(&mut self, volley: &mut Volley, shots: Arc<Vec<T::Shot>>) -> Result<()> {
        let (answers, target) = (std::mem::take(&mut volley.answers), Arc::clone(&self.target));
        let verified = parallel::map(answers.len(), move |n| {
            let (number, answer) = &answers[n];
            target.verify(&shots[*number], answer)
        });
        verified.await?.into_iter().for_each(|answer| self.ledger.enter(answer));
        Ok(())
    }

    fn used(&self) -> Result<Option<Usage>> {
        self.offer.server.map(Usage::of_process).transpose()
    }
}
