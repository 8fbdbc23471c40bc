//! A Fulcio v2 certificate authority: a fresh P-256 key for every certificate, for tokens that were fetched before.
//!
//! Each certificate's timestamp is verified, and afterwards the issuance log must prove that its leaf is in the final
//! signed tree.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use chancery_tlog::certificate::Certificate;
use chancery_tlog::chain::{self, Purpose};
use chancery_tlog::clock::Timestamp;
use chancery_tlog::ct::{Entry, Sct, verify_tree_head};
use chancery_tlog::key::{KeyKind, PublicKey, Signer as _, SoftwareSigner};
use chancery_tlog::merkle::{Hash, leaf_hash, verify_consistency, verify_inclusion};
use chancery_tlog::trust::Keyring;
use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::{Client, Request};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{Target, post};
use crate::ledger::{Acknowledged, Leaf, Ledger};
use crate::submitter::Submitter;
use crate::trust::TreeHead;
use crate::{http, parallel};

/// Tokens of one step. Each is used for many certificates: tokens cost their issuer an RSA signature, and the
/// authority verifies every one anew.
const TOKENS: usize = 32;
/// Proofs that are fetched at the same time.
const AT_ONCE: usize = 8;

/// A certificate authority under load.
pub(crate) struct Certificates {
    client: Client,
    endpoint: Url,
    tokens: TokenSource,
    keyring: Keyring,
    log: Option<IssuanceLog>,
}

/// Where identity tokens come from.
#[derive(Clone)]
pub(crate) enum TokenSource {
    /// An endpoint that gives one to a job, as GitHub's `ACTIONS_ID_TOKEN_REQUEST_URL`.
    Endpoint {
        /// The address, without an audience.
        url: Url,
        /// `ACTIONS_ID_TOKEN_REQUEST_TOKEN`.
        bearer: String,
    },
    /// One token for everything.
    Token(String),
}

impl TokenSource {
    /// The token in `file`.
    pub(crate) fn file(file: &Path) -> Result<Self> {
        let token =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self::Token(token.trim().to_owned()))
    }

    async fn token(&self, client: &Client) -> Result<Token> {
        let (url, bearer) = match self {
            Self::Token(jwt) => return Token::read(jwt),
            Self::Endpoint { url, bearer } => (url, bearer),
        };
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("audience", "sigstore");
        let answer = client.get(url).bearer_auth(bearer).send().await?.error_for_status()?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        Token::read(answer["value"].as_str().context("the token endpoint answers without `value`")?)
    }
}

/// A submitter to logs whose key the authority at `url` has certified.
pub(crate) async fn certified_submitter(
    client: &Client,
    url: &str,
    tokens: &TokenSource,
) -> Result<Submitter> {
    let token = tokens.token(client).await.context("cannot get an identity token")?;
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    let request = client.post(endpoint(url)?).header("content-type", "application/json");
    let answer = request.body(ask(&token, &signer)?).send().await?;
    let status = answer.status();
    ensure!(status.is_success(), "the certificate authority answers {}", status.as_u16());
    let chain = chain_of(&answer.bytes().await?)?;
    Submitter::certified(signer, chain.into_iter().next().context("the chain is empty")?)
}

fn endpoint(url: &str) -> Result<Url> {
    Ok(Url::parse(&format!("{url}/api/v2/signingCert"))?)
}

/// The certificates in the authority's answer.
fn chain_of(answer: &[u8]) -> Result<Vec<Certificate>> {
    let answer: AnswerJson = serde_json::from_slice(answer).context("not a signed certificate")?;
    let signed = answer.signed_certificate_embedded_sct.or(answer.signed_certificate_detached_sct);
    let chain = signed.context("the answer has no chain")?.chain.certificates;
    chain.iter().map(|pem| Ok(Certificate::from_pem(pem)?)).collect()
}

/// An identity token, and the name whose signature proves possession.
struct Token {
    jwt: String,
    name: String,
}

impl Token {
    fn read(jwt: &str) -> Result<Self> {
        let payload = jwt.split('.').nth(1).context("the identity token is no JWT")?;
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload.trim_end_matches('='))?)?;
        let name = claims["email"].as_str().or_else(|| claims["sub"].as_str());
        let name = name.context("the identity token has no subject")?.to_owned();
        Ok(Self { jwt: jwt.to_owned(), name })
    }
}

/// A request for a certificate.
pub(crate) struct Asked {
    key: PublicKey,
    body: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerJson {
    signed_certificate_embedded_sct: Option<SignedJson>,
    signed_certificate_detached_sct: Option<SignedJson>,
}

#[derive(Deserialize)]
struct SignedJson {
    chain: ChainJson,
}

#[derive(Deserialize)]
struct ChainJson {
    certificates: Vec<String>,
}

impl Certificates {
    /// Load for the authority at `url`. `log` is where its issuance log is served, up to `/ct/v1/`; without one,
    /// certificates are verified but no timestamp is asked of them.
    pub(crate) async fn new(
        client: Client,
        url: &str,
        tokens: TokenSource,
        keyring: Keyring,
        log: Option<&str>,
    ) -> Result<Self> {
        ensure!(
            keyring.authorities.iter().next().is_some(),
            "the trusted root lists no certificate authority"
        );
        let log = match log {
            Some(log) => Some(IssuanceLog::open(client.clone(), log, &keyring).await?),
            None => None,
        };
        Ok(Self { client, endpoint: endpoint(url)?, tokens, keyring, log })
    }

    /// The leaf in the issuance log that the certificate's own timestamp promises.
    fn promised(&self, certificate: &Certificate, issuer: &Certificate) -> Result<Leaf> {
        let entry = Entry::from_final(certificate, issuer)?;
        let scts = Sct::embedded(certificate)?;
        let [sct] = scts.as_slice() else {
            bail!("{} signed certificate timestamps, where one is due", scts.len())
        };
        let log = self.keyring.ct_logs.iter().find(|log| log.id == sct.log_id);
        let log = log.context("the certificate's timestamp is by no trusted log")?;
        sct.verify(&entry, &log.key).context("the certificate's timestamp")?;
        Ok(Leaf { hash: leaf_hash(&entry.leaf(sct.timestamp, &sct.extensions)), index: None })
    }
}

impl Target for Certificates {
    type Shot = Asked;

    async fn prepare(&self, count: usize) -> Result<Vec<Asked>> {
        let mut tokens = Vec::new();
        for _ in 0..TOKENS.min(count) {
            tokens.push(self.tokens.token(&self.client).await.context("cannot get an identity token")?);
        }
        let tokens = Arc::new(tokens);
        parallel::map(count, move |n| asked(&tokens[n % tokens.len()])).await?.into_iter().collect()
    }

    fn request(&self, shot: &Asked) -> Request {
        post(&self.endpoint, "application/json", shot.body.clone())
    }

    fn verify(&self, shot: &Asked, answer: &[u8]) -> Result<Acknowledged> {
        let chain = chain_of(answer)?;
        let [certificate, issuer, ..] = chain.as_slice() else { bail!("the chain is too short") };
        ensure!(*certificate.public_key() == shot.key, "the certificate is for another key");
        let anchors: Vec<_> =
            self.keyring.authorities.iter().map(|authority| authority.anchor.clone()).collect();
        let at = certificate.not_before();
        chain::verify(certificate, &chain[1..], &anchors, at, Purpose::CodeSigning).context("the chain")?;
        let leaf = self.log.is_some().then(|| self.promised(certificate, issuer)).transpose()?;
        Ok(Acknowledged { leaf, head: None })
    }

    async fn audit(&self, ledger: &mut Ledger) -> Result<()> {
        match &self.log {
            Some(log) => log.audit(ledger).await,
            None => Ok(()),
        }
    }
}

/// A request for a certificate over a fresh key.
fn asked(token: &Token) -> Result<Asked> {
    let signer = SoftwareSigner::generate(KeyKind::EcdsaP256)?;
    Ok(Asked { key: signer.public_key().clone(), body: ask(token, &signer)?.into() })
}

/// The body that asks for a certificate over the key of `signer`.
fn ask(token: &Token, signer: &SoftwareSigner) -> Result<String> {
    let proof = STANDARD.encode(signer.sign(token.name.as_bytes())?);
    let body = json!({
        "credentials": { "oidcIdentityToken": token.jwt },
        "publicKeyRequest": {
            "publicKey": { "algorithm": "ECDSA", "content": signer.public_key().to_pem() },
            "proofOfPossession": proof,
        },
    });
    Ok(body.to_string())
}

/// The RFC 6962 log that certificates go into.
struct IssuanceLog {
    client: Client,
    url: String,
    key: PublicKey,
    start: TreeHead,
}

#[derive(Deserialize)]
struct HeadJson {
    tree_size: u64,
    timestamp: u64,
    sha256_root_hash: String,
    tree_head_signature: String,
}

#[derive(Deserialize)]
struct ConsistencyJson {
    consistency: Vec<String>,
}

#[derive(Deserialize)]
struct ProofJson {
    leaf_index: u64,
    audit_path: Vec<String>,
}

impl IssuanceLog {
    async fn open(client: Client, url: &str, keyring: &Keyring) -> Result<Self> {
        let url = url.trim_end_matches('/').to_owned();
        let mut failure = anyhow!("the trusted root lists no issuance log");
        for log in &keyring.ct_logs {
            let (client, url, key) = (client.clone(), url.clone(), log.key.clone());
            let start = TreeHead { size: 0, root: chancery_tlog::merkle::EMPTY_ROOT };
            let mut opened = Self { client, url, key, start };
            match opened.head().await {
                Ok(head) => {
                    opened.start = head;
                    return Ok(opened);
                }
                Err(error) => failure = error,
            }
        }
        Err(failure.context("the issuance log's head before the run: say where it is with `--ct-log`"))
    }

    async fn head(&self) -> Result<TreeHead> {
        let head: HeadJson = http::get_json(&self.client, &format!("{}/ct/v1/get-sth", self.url)).await?;
        let (size, root) = (head.tree_size, Hash::from_base64(&head.sha256_root_hash)?);
        let signature = STANDARD.decode(&head.tree_head_signature)?;
        verify_tree_head(size, &root, Timestamp::from_millis(head.timestamp), &signature, &self.key)?;
        Ok(TreeHead { size, root })
    }

    async fn audit(&self, ledger: &mut Ledger) -> Result<()> {
        let (start, last) = (self.start, self.head().await.context("the issuance log's head after the run")?);
        if start.size > last.size {
            ledger
                .breach(format!("the issuance log has shrunk from {} to {} entries", start.size, last.size));
            return Ok(());
        }
        if start.size > 0
            && let Err(error) = self.consistent(start, last).await
        {
            ledger.breach(format!("the issuance log does not extend its {} entries: {error:#}", start.size));
        }
        let leaves = futures::stream::iter(ledger.leaves.clone());
        let proven = leaves.map(|leaf| self.prove(leaf.hash, last)).buffer_unordered(AT_ONCE);
        let missing: Vec<Option<String>> = proven.try_collect().await?;
        missing.into_iter().flatten().for_each(|what| ledger.breach(what));
        ledger.saw(last);
        Ok(())
    }

    async fn consistent(&self, old: TreeHead, new: TreeHead) -> Result<()> {
        let url = format!("{}/ct/v1/get-sth-consistency?first={}&second={}", self.url, old.size, new.size);
        let proof: ConsistencyJson = http::get_json(&self.client, &url).await?;
        Ok(verify_consistency(old.size, &old.root, new.size, &new.root, &hashes(&proof.consistency)?)?)
    }

    /// What is wrong with the place of a leaf in the tree of `last`.
    async fn prove(&self, leaf: Hash, last: TreeHead) -> Result<Option<String>> {
        let mut url = Url::parse(&format!("{}/ct/v1/get-proof-by-hash", self.url))?;
        let (hash, size) = (leaf.to_base64(), last.size.to_string());
        url.query_pairs_mut().append_pair("hash", &hash).append_pair("tree_size", &size);
        let Some(proof) = http::find(&self.client, url.as_str()).await? else {
            return Ok(Some(format!("the timestamped certificate {leaf} is not in the issuance log")));
        };
        let proof: ProofJson = serde_json::from_slice(&proof)?;
        let proven =
            verify_inclusion(&leaf, proof.leaf_index, last.size, &hashes(&proof.audit_path)?, &last.root);
        Ok(proven.err().map(|error| format!("the issuance log does not prove certificate {leaf}: {error}")))
    }
}

fn hashes(list: &[String]) -> Result<Vec<Hash>> {
    list.iter().map(|hash| Ok(Hash::from_base64(hash)?)).collect()
}
