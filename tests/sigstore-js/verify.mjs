// Verifies as a program that uses @sigstore/verify does: with the trusted root in a file, certificate, SCT, log and
// time all checked.
//
//   node verify.mjs FOLDER TRUSTED_ROOT IDENTITY ISSUER BUNDLE ARTIFACT
//
// The library leaves to its user whether the statement of a DSSE envelope speaks of the artifact: checked here.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [folder, root, identity, issuer, bundlePath, artifactPath] = process.argv.slice(2);
const require = createRequire(join(resolve(folder), 'package.json'));
const { bundleFromJSON } = require('@sigstore/bundle');
const { TrustedRoot } = require('@sigstore/protobuf-specs');
const { Verifier, toSignedEntity, toTrustMaterial } = require('@sigstore/verify');

const read = (path) => JSON.parse(readFileSync(path, 'utf8'));
const bundle = bundleFromJSON(read(bundlePath));
const artifact = readFileSync(artifactPath);
const verifier = new Verifier(toTrustMaterial(TrustedRoot.fromJSON(read(root))));
// A policy's identity is a pattern.
const literal = identity.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
verifier.verify(toSignedEntity(bundle, artifact), {
  subjectAlternativeName: new RegExp(`^${literal}$`),
  extensions: { issuer },
});
if (bundle.content.$case === 'dsseEnvelope') {
  const statement = JSON.parse(bundle.content.dsseEnvelope.payload.toString());
  const digest = createHash('sha256').update(artifact).digest('hex');
  if (!statement.subject.some((subject) => subject.digest.sha256 === digest)) {
    throw new Error(`no subject of the statement has the digest ${digest}`);
  }
}
console.log('verified');
