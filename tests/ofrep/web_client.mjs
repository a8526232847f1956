// A web page as OpenFeature's provider for browsers makes it: all switches at once, asked for again and again.
//
// Arguments: the edge's address, the workspace, the targeting key. It writes a line of JSON for each answer of the edge
// ({"status"}), for each change that the provider tells of ({"changed"}), and for each key that it reads from its
// standard input ({"key", "value", "reason", "variant", "errorCode"}): as [key, default]. A page that cannot start tells
// why ({"error"}), and goes on with the defaults of its code.

import { createInterface } from 'node:readline'
import { OFREPWebProvider } from '@openfeature/ofrep-web-provider'
import { OpenFeature, ProviderEvents } from '@openfeature/web-sdk'

const POLL_INTERVAL_MS = 50
const [baseUrl, workspace, targetingKey] = process.argv.slice(2)
const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)

const provider = new OFREPWebProvider({
  baseUrl,
  pollInterval: POLL_INTERVAL_MS,
  cacheMode: 'disabled',
  headers: [['X-Graywave-Workspace', workspace]],
  fetchImplementation: async (...request) => {
    const response = await fetch(...request)
    tell({ status: response.status })
    return response
  },
})
OpenFeature.addHandler(ProviderEvents.ConfigurationChanged, (event) => tell({ changed: event.flagsChanged }))
await OpenFeature.setContext({ targetingKey, platform: 'android', plan: 'premium' })
await OpenFeature.setProviderAndWait(provider).catch((error) => tell({ error: String(error) }))

const client = OpenFeature.getClient()
const read = {
  boolean: (...asked) => client.getBooleanDetails(...asked),
  string: (...asked) => client.getStringDetails(...asked),
  number: (...asked) => client.getNumberDetails(...asked),
  object: (...asked) => client.getObjectDetails(...asked),
}
for await (const line of createInterface({ input: process.stdin })) {
  const [key, value] = JSON.parse(line)
  const { reason, variant, errorCode, ...found } = read[typeof value](key, value)
  tell({ key, value: found.value, reason, variant, errorCode })
}
process.exit(0)
