"""A small classifier of scikit-learn's handwritten digits, for the examples of trackers."""

import torch
from lightning.pytorch import LightningModule
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class DigitClassifier(LightningModule):
    """Two layers on images of 8 x 8 pixels."""

    def __init__(self):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))

    def forward(self, images):
        """Return the logits of the ten digits."""
        return self.net(images / 16)

    def training_step(self, batch):
        """Log and return the loss."""
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch):
        """Log the metric that selects the best checkpoint: with several processes, the mean over all."""
        images, labels = batch
        self.log("val_loss", F.cross_entropy(self(images), labels), sync_dist=True)

    def configure_optimizers(self):
        """Use Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def digits():
    """Return loaders of scikit-learn's 1,797 digits: to train and to validate."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        torch.tensor(images, dtype=torch.float32), torch.tensor(labels), test_size=0.2, random_state=0
    )
    train_x, val_x, train_y, val_y = parts
    return (
        DataLoader(TensorDataset(train_x, train_y), batch_size=64, shuffle=True),
        DataLoader(TensorDataset(val_x, val_y), batch_size=64),
    )
