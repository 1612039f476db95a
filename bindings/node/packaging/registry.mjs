// A registry on loopback that serves tarballs like npm's, to test packages before publication.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import path from 'node:path';

import { pack } from './pack.mjs';

export class Registry {
  #folder;
  #packages = new Map();
  #server = createServer((request, response) => this.#answer(request, response));

  /** Creates a registry that stores its tarballs in a folder. */
  constructor(folder) {
    this.#folder = folder;
  }

  /** Starts listening and returns the address. */
  async listen() {
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.address = `http://127.0.0.1:${this.#server.address().port}/`;
    return this.address;
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** Publishes the package in a folder. */
  publish(folder) {
    const manifest = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'));
    const packed = pack(folder, this.#folder);
    const { name, version } = manifest;
    const versions = this.#packages.get(name) ?? new Map();
    this.#packages.set(name, versions.set(version, { manifest, packed }));
    return packed;
  }

  #answer(request, response) {
    const asked = decodeURIComponent(new URL(request.url, this.address).pathname).slice(1);
    const tarball = asked.split('/-/')[1];
    if (tarball) {
      const all = [...this.#packages.values()].flatMap((versions) => [...versions.values()]);
      const found = all.find(({ packed }) => packed.filename === tarball);
      if (found) return response.end(readFileSync(found.packed.file));
    } else if (this.#packages.has(asked)) {
      return response.end(JSON.stringify(this.#describe(asked)));
    }
    response.writeHead(404, { 'content-type': 'application/json' });
    return response.end('{"error": "not found"}');
  }

  /** The description of a package that npm requests. */
  #describe(name) {
    const versions = [...this.#packages.get(name)].map(([version, { manifest, packed }]) => {
      const { integrity, shasum, filename } = packed;
      const tarball = `${this.address}${name}/-/${filename}`;
      return [
        version,
        { ...manifest, _id: `${name}@${version}`, dist: { integrity, shasum, tarball } },
      ];
    });
    const [latest] = versions.at(0);
    return { name, 'dist-tags': { latest }, versions: Object.fromEntries(versions) };
  }
}
