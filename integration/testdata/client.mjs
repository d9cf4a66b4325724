// One session of the Node library basic-ftp. What to do comes as JSON on stdin.
// Listings go to stdout, the dialogue to stderr.

import { readFileSync, statSync } from "node:fs"
import { createRequire } from "node:module"
import { PassThrough } from "node:stream"

const order = JSON.parse(readFileSync(0, "utf8"))
const require = createRequire(order.modules + "/")
const { Client, enterPassiveModeIPv4, enterPassiveModeIPv6 } = require("basic-ftp")

const client = new Client(90000)
client.ftp.verbose = true
client.ftp.log = message => process.stderr.write(message + "\n")

const commands = {
    async list(verb, dir) {
        client.availableListCommands = [verb]
        for (const file of await client.list(dir)) {
            process.stdout.write(file.name + "\n")
        }
    },
    async get(remote, local, how) {
        await client.downloadTo(local, remote, how === "resume" ? statSync(local).size : 0)
    },
    async put(local, remote, how) {
        if (how === "resume") {
            await client.appendFrom(local, remote, { localStart: await client.size(remote) })
        } else if (how === "append") {
            await client.appendFrom(local, remote)
        } else {
            await client.uploadFrom(local, remote)
        }
    },
    async getTree(remote, local) { await client.downloadToDir(local, remote) },
    async putTree(local, remote) { await client.uploadFromDir(local, remote) },
    async rename(from, to) { await client.rename(from, to) },
    async remove(file) { await client.remove(file) },
    async mkdir(dir) { await client.send("MKD " + dir) },
    async rmdir(dir) { await client.removeEmptyDir(dir) },
    // The library knows no ABOR: whoever wants an end closes the client.
    async abort(big, small, local) {
        const sink = new PassThrough()
        let seen = 0
        sink.on("data", chunk => {
            seen += chunk.length
            if (seen > 100000) {
                client.close()
            }
        })
        await client.downloadTo(sink, big).then(
            () => { throw new Error("the whole file came") },
            () => {},
        )
        await open()
        await client.downloadTo(local, small)
    },
}

async function open() {
    await client.access({ host: order.host, port: order.port, user: order.user, password: order.password })
    client.prepareTransfer = order.mode === "PASV" ? enterPassiveModeIPv4 : enterPassiveModeIPv6
}

client.ftp.encoding = order.encoding
try {
    await open()
    const [name, ...args] = order.args
    await commands[name](...args)
    if (!client.closed) {
        await client.send("QUIT")
    }
} catch (error) {
    process.stderr.write(String(error?.stack ?? error) + "\n")
    process.exitCode = 1
} finally {
    client.close()
}
