// A real OpenID provider whose ID tokens carry the claims of a GitHub Actions job.
//
//   node provider.mjs FOLDER PORT
//
// FOLDER holds node_modules (tests/peers installs it). The client `sigstore` is public and needs PKCE. Whoever signs
// in as `repo:OWNER/NAME:ref:REF`, the form of GitHub's subjects, gets the claims of a job of that repository. It
// keeps everything in memory.

import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, port] = process.argv.slice(2);
const library = join(resolve(folder), 'node_modules', 'oidc-provider', 'lib', 'index.js');
const { default: Provider } = await import(pathToFileURL(library));
const issuer = `http://127.0.0.1:${port}`;

// The claims of GitHub's own tokens that name the job, in GitHub's spelling.
function jobClaims(subject) {
  const [, repository, , ref] = subject.split(':');
  const [owner] = repository.split('/');
  const workflow = `${repository}/.github/workflows/release.yml@${ref}`;
  const commit = '0123456789abcdef0123456789abcdef01234567';
  return {
    actor: 'octocat',
    actor_id: '583231',
    base_ref: '',
    event_name: 'push',
    head_ref: '',
    job_workflow_ref: workflow,
    job_workflow_sha: commit,
    ref,
    ref_type: 'branch',
    repository,
    repository_id: '74',
    repository_owner: owner,
    repository_owner_id: '65',
    repository_visibility: 'private',
    run_attempt: '1',
    run_id: '1234567',
    run_number: '10',
    runner_environment: 'github-hosted',
    sha: commit,
    workflow: 'release',
    workflow_ref: workflow,
    workflow_sha: commit,
  };
}

const provider = new Provider(issuer, {
  claims: { openid: ['sub', ...Object.keys(jobClaims('repo:owner/name:ref:refs/heads/main'))] },
  clients: [{
    client_id: 'sigstore',
    grant_types: ['authorization_code'],
    redirect_uris: ['http://127.0.0.1/callback'],
    response_types: ['code'],
    application_type: 'native',
    token_endpoint_auth_method: 'none',
  }],
  // Claims go into the ID token itself: there is no userinfo round trip in a signing job.
  conformIdTokenClaims: false,
  cookies: { keys: ['only for tests'] },
  features: { devInteractions: { enabled: true } },
  findAccount: (_context, subject) => ({
    accountId: subject,
    claims: () => ({ sub: subject, ...jobClaims(subject) }),
  }),
  ttl: { IdToken: 600, AccessToken: 600, AuthorizationCode: 60, Interaction: 600, Grant: 600, Session: 600 },
});

provider.listen(Number(port), '127.0.0.1', () => console.log(`listening on ${issuer}`));
