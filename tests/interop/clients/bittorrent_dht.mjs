// A node of `bittorrent-dht` that is controlled by lines on stdin.
// Arguments: the folder of the package, host, port, bootstrap nodes.

import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const [folder, host, port, ...bootstrap] = process.argv.slice(2)
const { default: DHT, Client } = await import(pathToFileURL(`${folder}/index.js`))
const dht = new (DHT ?? Client)({ bootstrap, host })
const found = {}

const print = (event) => console.log(JSON.stringify(event))
dht.on('error', (error) => print({ event: 'failed', why: String(error) }))
dht.on('peer', (peer, infohash) => {
  (found[infohash.toString('hex')] ??= new Set()).add(`${peer.host}:${peer.port}`)
})
dht.listen(Number(port), host, () => {
  print({ event: 'listening', addr: `${host}:${port}`, id: dht.nodeId.toString('hex') })
})

const commands = {
  announce: (infohash, port) => {
    dht.announce(infohash, Number(port), (error) => {
      print(error ? { event: 'failed', why: String(error) } : { event: 'announced' })
    })
  },
  'get-peers': (infohash) => {
    dht.lookup(infohash, () => print({ event: 'peers', peers: [...(found[infohash] ?? [])] }))
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...words] = line.split(' ')
  if (commands[command]) commands[command](...words)
  else print({ event: 'failed', why: 'no such command' })
}
process.exit()
