# Homebrew formula; "make release" fills in version and checksums.
#
# Homebrew's directories belong to a user, so nothing in them may run as root. From
# macOS 26 on nothing has to. Before, "sudo vmnet-shim install" copies the programs
# to /opt/vmnet, which belongs to root.
class Vmnet < Formula
  desc "Network interfaces for virtual machines, as a CNI plugin"
  homepage "https://github.com/vmnet-cni/vmnet"
  version "@VERSION@"
  license "Apache-2.0"

  on_macos do
    on_arm do
      url "https://github.com/vmnet-cni/vmnet/releases/download/v@VERSION@/vmnet_@VERSION@_darwin_arm64.tar.gz"
      sha256 "@DARWIN_ARM64@"
    end
    on_intel do
      url "https://github.com/vmnet-cni/vmnet/releases/download/v@VERSION@/vmnet_@VERSION@_darwin_amd64.tar.gz"
      sha256 "@DARWIN_AMD64@"
    end
  end

  def install
    libexec.install "vmnet", "vmnet-shim"
    system "codesign", "-f", "-s", "-", "--entitlements", "packaging/macos/entitlements.plist", libexec/"vmnet-shim"
    bin.install_symlink libexec/"vmnet-shim"
    pkgshare.install "examples", "packaging"
    man1.install Dir["man/*.1"]
    bash_completion.install "completions/vmnet-shim.bash" => "vmnet-shim"
    zsh_completion.install "completions/_vmnet-shim"
    fish_completion.install "completions/vmnet-shim.fish"
  end

  def caveats
    <<~EOS
      CNI runtimes look for the plugin in /opt/cni/bin, and before macOS 26 only root
      may use vmnet.framework. One command does both, and prints what it does:
        sudo #{opt_bin}/vmnet-shim install
    EOS
  end

  service do
    run [opt_bin/"vmnet-shim", "keep", "--", "serve"]
    keep_alive successful_exit: false
    process_type :interactive
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/vmnet-shim version")
  end
end
