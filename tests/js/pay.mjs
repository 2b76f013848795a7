// A gateway as its makers publish it: one live session for some seconds, and one job beside it. Prints what it got.
import { createGateway } from "@pymthouse/gateway-web";

const { SIGNER_URL, API_KEY, DISCOVERY_URL, LIVE_APP, JOB_APP, SESSION_SECONDS } = process.env;
const gateway = createGateway({
  signerUrl: SIGNER_URL,
  signerHeaders: { Authorization: `Bearer ${API_KEY}` },
  discoveryUrl: DISCOVERY_URL,
  attributionSource: "tests",
});

// What an application does when it did not work: again.
async function persistently(work) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === 4) throw error;
    }
  }
}

const session = await persistently(() => gateway.reserveSession({ capability: LIVE_APP }));
const job = await persistently(() => gateway.runInference({ capability: JOB_APP, params: { picture: "a cat" } }));
await new Promise((resolve) => setTimeout(resolve, 1000 * Number(SESSION_SECONDS)));
const frame = await gateway.callSession(session, { endpoint: "/frame", payload: { number: 1 } });
await gateway.stopSession(session);
console.log(JSON.stringify({ session: session.sessionId, frame: frame.data, job: job.data }));
process.exit(0);
