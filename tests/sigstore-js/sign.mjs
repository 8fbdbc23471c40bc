// Signs as a program that uses @sigstore/sign does: services from a signing config, the token from the environment.
//
//   SIGSTORE_ID_TOKEN=… node sign.mjs FOLDER SIGNING_CONFIG blob|dsse FILE BUNDLE
//
// FOLDER holds node_modules (tests/peers installs it). `dsse` takes FILE for an in-toto statement.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [folder, config, kind, file, bundle] = process.argv.slice(2);
const require = createRequire(join(resolve(folder), 'package.json'));
const { bundleBuilderFromSigningConfig } = require('@sigstore/sign');
const { bundleToJSON } = require('@sigstore/bundle');
const { SigningConfig } = require('@sigstore/protobuf-specs');

const builder = bundleBuilderFromSigningConfig({
  signingConfig: SigningConfig.fromJSON(JSON.parse(readFileSync(config, 'utf8'))),
  identityProvider: { getToken: async () => process.env.SIGSTORE_ID_TOKEN },
  bundleType: kind === 'dsse' ? 'dsseEnvelope' : 'messageSignature',
});
const signed = await builder.create({ data: readFileSync(file), type: 'application/vnd.in-toto+json' });
writeFileSync(bundle, JSON.stringify(bundleToJSON(signed)));
